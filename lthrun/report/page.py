"""One self-contained HTML page: verdict first, then the figures, the tables, and how it was made.

Everything that comes from records is escaped by the template; the page holds no script, and its policy allows none.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lthrun.errors import escape_unprintable
from lthrun.report.figure_style import Plot
from lthrun.report.records import Records

GOOD, BAD, OPEN = "good", "bad", "open"


@dataclass(frozen=True)
class Sheet:
    """A table of the page; its first column names the rows."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    texts: frozenset[str] = frozenset()  # the headings of the other columns that are no numbers


@dataclass(frozen=True)
class Page:
    """What the page says, in its order."""

    title: str
    about: str
    word: str
    tone: str  # good, bad or open: the colour of the word, which never speaks alone
    sentences: Sequence[str]
    facts: Sequence[tuple[str, str]]
    notes: Sequence[str]
    missing: Sequence[str]
    plots: Sequence[Plot]
    sheets: Sequence[Sheet]
    differs: dict[str, Any] = field(default_factory=dict)


def render(page: Page, records: Records) -> str:
    """The HTML."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, finalize=shown,
    )  # fmt: skip
    environment.filters["tied"] = tied
    environment.filters["base64"] = lambda data: Markup(base64.b64encode(data).decode())
    told = {key: value for key, value in records.environment.items() if key not in ("levels", "format")}
    return environment.get_template("page.html").render(
        page=page, folder=records.run_dir.resolve().name, config=records.config, environment=told
    )


KEPT = "\n\N{NO-BREAK SPACE}"


def shown(value: Any) -> Any:
    """A text with what would reverse or hide what follows it escaped; the template's own and line breaks stay."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "".join(c if c in KEPT else escape_unprintable(c) for c in value)


def tied(text: str) -> str:
    """The text with its numbers tied to what they belong to: `95 %` and `n = 5` are not broken over lines."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%").replace("n = ", "n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}")
