"""Write the report into its run's directory: report.html, and the figures with their numbers in figures/."""

from __future__ import annotations

from pathlib import Path

from lthrun.experiments.summaries import StudySummary
from lthrun.report.figures import plots_of
from lthrun.report.page import render_page
from lthrun.report.records import Records, read_records
from lthrun.report.study_report import build_report
from lthrun.storage.files import write_bytes, write_text

PAGE = "report.html"


def publish(records: Records) -> Path:
    """Write the page, and return its path. Equal records give equal bytes."""
    plots = plots_of(records)
    for name, _, plot in plots:
        path = records.run_dir / "figures" / name
        write_bytes(path.with_suffix(".svg"), plot.svg)
        write_bytes(path.with_suffix(".png"), plot.png)
        write_text(path.with_suffix(".csv"), plot.csv)
    page = records.run_dir / PAGE
    write_text(page, render_page(build_report(records.summary), plots, records))
    return page


def publish_study(run_dir: Path) -> None:
    """Write the page of a study that has none; a run has one when it is asked for."""
    if not (run_dir / PAGE).exists():
        records = read_records(run_dir)
        if isinstance(records.summary, StudySummary):
            publish(records)
