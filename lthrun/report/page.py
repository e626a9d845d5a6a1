"""The page's renderer: one self-contained HTML file, the answer first, then figures, tables, and the settings.

The template escapes everything that comes from records; the page has no script, and its policy allows none.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lthrun.errors import escape_unprintable
from lthrun.report.figures import NamedPlot
from lthrun.report.records import Records
from lthrun.report.tables import Report

HIDDEN = ("levels", "format")
KEPT = "\n\N{NO-BREAK SPACE}"


def render_page(report: Report, plots: Sequence[NamedPlot], records: Records) -> str:
    """The HTML."""
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
