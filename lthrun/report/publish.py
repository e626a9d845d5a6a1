"""Write a report into its run's directory: report.html, and the figures with their numbers in figures/."""

from __future__ import annotations

from pathlib import Path

from lthrun.report.page import render
from lthrun.report.records import Records
from lthrun.report.run_page import run_page
from lthrun.report.study_page import study_page
from lthrun.storage.files import write_bytes, write_text


def publish(records: Records) -> Path:
    """The page, where it was written; equal records give equal bytes."""
    page = study_page(records) if records.is_study else run_page(records)
    for plot in page.plots:
        place = records.run_dir / "figures" / plot.name
        write_bytes(place.with_suffix(".svg"), plot.svg)
        write_bytes(place.with_suffix(".png"), plot.png)
        write_text(place.with_suffix(".csv"), plot.csv)
    path = records.run_dir / "report.html"
    write_text(path, render(page, records))
    return path
