"""The figures of a report: one file and one entry each, drawn from records alone, without pyplot or any backend."""

from __future__ import annotations

from typing import NamedTuple

# isort: off
# First, as matplotlib must not be imported otherwise; then the figures, in their order on the page.
from lthrun.report.figures import backend  # noqa: F401
from lthrun.report.figures import error_path, differences, estimate_by_seeds, accuracy_by_sparsity  # noqa: F401
from lthrun.report.figures import learning_curves, levels, masks  # noqa: F401

# isort: on
from lthrun.report.figures.plot import FIGURES, Plot
from lthrun.report.records import Records
from lthrun.report.run_report import class_names


class NamedPlot(NamedTuple):
    name: str
    title: str
    plot: Plot


def plots_of(records: Records) -> list[NamedPlot]:
    """The figures of this type of summary that there are numbers for."""
    plots = []
    for name, entry in FIGURES.items():
        if entry.of in class_names(records.summary):
            plot = entry.make(records.summary, records.metrics)
            if plot.rows:
                plots.append(NamedPlot(name, entry.about, plot))
    return plots
