"""Write a report into its run's directory: report.html, and the figures with their numbers in figures/.

The page is one self-contained file: the answer, then figures, tables, and the settings. The template escapes everything
that comes from records; the page has no script, and its policy allows none.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lthrun.errors import escape_unprintable
from lthrun.experiments.summaries import StudySummary
from lthrun.report.figures import NamedPlot, plots_of
from lthrun.report.records import Records, read_records
from lthrun.report.study_report import build_report
from lthrun.report.tables import Report
from lthrun.storage.files import write_bytes, write_text

PAGE = "report.html"
HIDDEN = ("levels", "format")
KEPT = "\n\N{NO-BREAK SPACE}"


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
    """Write the page of a study, unless it is younger than the summary; a run has one when it is asked for."""
    page, summary = run_dir / PAGE, run_dir / "summary.json"
    if not page.exists() or page.stat().st_mtime_ns < summary.stat().st_mtime_ns:
        records = read_records(run_dir)
        if isinstance(records.summary, StudySummary):
            publish(records)


def render_page(report: Report, plots: Sequence[NamedPlot], records: Records) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, finalize=escape_control,
    )  # fmt: skip
    environment.filters["unbroken"] = unbroken
    environment.filters["base64"] = lambda data: Markup(base64.b64encode(data).decode())
    surroundings = {key: value for key, value in records.environment.items() if key not in HIDDEN}
    return environment.get_template("page.html").render(
        report=report,
        plots=plots,
        tables=[(table, table.for_medium("page")) for table in report.tables],
        folder=records.run_dir.resolve().name,
        config=records.config,
        environment=surroundings,
    )


def escape_control(value: Any) -> Any:
    """A text with characters escaped that would reverse or hide others; the template's own and line breaks stay."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "".join(c if c in KEPT else escape_unprintable(c) for c in value)


def unbroken(text: str) -> str:
    """The text with no line break between a number and its unit: `95 %`, `n = 5`."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%").replace("n = ", "n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}")
