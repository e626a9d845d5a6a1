"""Whether the seeds keep the same weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from lthrun.experiments.summaries import StudySummary
from lthrun.report.figures.layout import Margins, draw_interval, label_right, make_panels
from lthrun.report.figures.plot import FIGURES, Plot
from lthrun.report.figures.style import DOTTED, MUTED, ArmStyle, arm_style
from lthrun.report.wording import percent

WIDTH = 5.6  # inches


@FIGURES.register("Do the seeds find the same ticket?", "mask-overlap", of="StudySummary")
def mask_overlap(summary: StudySummary, metrics: Sequence[dict[str, Any]]) -> Plot:
    rows = [row.model_dump() for row in summary.overlap]
    return Plot(
        "Weights that the tickets of two seeds both keep, in percent of those that either keeps: the mean over all "
        "pairs of seeds, with a line from lowest to highest, beside what two random masks would share.",
        rows,
        lambda narrow: draw(rows, narrow),
        WIDTH,
    )


def draw(rows: Sequence[dict[str, Any]], narrow: bool) -> Figure:
    figure, (axes,) = make_panels(narrow, 1, 2.2, Margins(left=0.42, right=1.1, bottom=0.65), wide=WIDTH)
    axes.set_title("kept by both, %")
    axes.set_xlabel("sparsity, and overlap as a multiple of chance")
    x = range(len(rows))
    ticket, chance = arm_style("ticket"), ArmStyle(MUTED, "o", DOTTED, True)
    axes.plot(x, [100 * row["chance"] for row in rows], color=chance.color, linestyle=chance.line,
              marker=chance.marker, markerfacecolor=chance.face)  # fmt: skip
    axes.plot(x, [100 * row["overlap"] for row in rows], color=ticket.color, linewidth=1.1)
    for at, row in zip(x, rows, strict=True):
        draw_interval(axes, at, 100 * row["overlap"], (100 * row["lowest"], 100 * row["highest"]), ticket)
    multiples = [f"\n{row['overlap'] / row['chance']:.2f} ×" if row["chance"] else "" for row in rows]
    axes.set_xticks(list(x), [percent(row["sparsity"]) + more for row, more in zip(rows, multiples, strict=True)])
    axes.set_xlim(-0.4, len(rows) - 0.6)
    axes.set_ylim(0, 115 * max(max(row["highest"], row["chance"]) for row in rows))
    label_right(axes, [(100 * rows[-1]["overlap"], "tickets", ticket), (100 * rows[-1]["chance"], "chance", chance)])
    return figure
