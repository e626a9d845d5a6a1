"""The terminal's renderer: tables, and the report of a run or of a study with its answer last, where the reader is."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Literal

from rich import box
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table as RichTable
from rich.text import Text

from lthrun.errors import escape_unprintable
from lthrun.report.tables import Fact, Report, Table, Tone

STYLES: dict[Tone, str] = {"": "", "good": "green", "bad": "red", "open": "yellow", "dim": "dim"}


def make_console(stderr: bool = False) -> Console:
    """A console as wide as the terminal; without one, wide enough for every table."""
    console = Console(stderr=stderr, highlight=False)
    return console if console.is_terminal else Console(stderr=stderr, highlight=False, width=120)


def print_json(value: Any) -> None:
    """What `--json` shows, on stdout."""
    print(json.dumps(value, indent=1))


def to_text(text: str, tone: Tone = "", style: str = "") -> Text:
    """Text on which control characters and markup of the records have no effect."""
    return Text(escape_unprintable(text), style or STYLES[tone], overflow="fold")


def show_tables(console: Console, tables: Iterable[Table]) -> None:
    for table in tables:
        notes = (to_text(line, "dim") for line in table.note.splitlines())
        console.print("", to_text(table.title, style="bold"), render_table(table), *notes, sep="\n")


def render_table(table: Table) -> RichTable:
    columns, rows, footer = table.for_medium("terminal")
    grid = RichTable(
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, show_footer=bool(footer)
    )
    for k, column in enumerate(columns):
        heading, foot = to_text(column.heading), to_text(*footer[k]) if footer else ""
        justify: Literal["left", "right"] = "left" if column.is_text else "right"
        grid.add_column(heading, foot, justify=justify, no_wrap=column.only is not None, overflow="fold")
    name = None
    for (first, tone), *others in rows:
        grid.add_row(to_text("" if first == name else first, tone), *(to_text(*cell) for cell in others))
        name = first
    return grid


def show_report(console: Console, report: Report, run_dir: str) -> None:
    """Tables, then a panel: the answer, the facts beside it, and where everything is."""
    show_tables(console, report.tables)
    facts = RichTable.grid(padding=(0, 2))
    facts.add_column(max_width=24)
    for name, value, tone in [*report.facts, Fact("Directory", run_dir)]:
        facts.add_row(to_text(name, "dim"), to_text(value, tone))
    first, *others = report.answer.sentences
    lines = Group(
        to_text(report.about, "dim"),
        to_text(report.title, "dim"),
        *(to_text(warning, "open") for warning in report.answer.warnings),
        to_text(first, style=f"bold {STYLES[report.answer.tone]}"),
        *map(to_text, others),
        "",
        facts,
        "",
        *(to_text(f"note: {note}", "dim") for note in report.notes),
        *(to_text(f"missing: {missing}", "open") for missing in report.missing),
    )
    title = to_text(report.answer.word)
    console.print("", Panel(lines, title=title, title_align="left", expand=False, padding=(1, 2)), sep="\n")


def one_line(experiment: str, report: Report, run_dir: str) -> str:
    """The answer in two sentences at most, after any warnings, for quiet mode."""
    return f"{experiment}: {' '.join([*report.answer.warnings, *report.answer.sentences[:2]])} {run_dir}"
