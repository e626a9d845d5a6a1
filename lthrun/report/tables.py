"""The content of a report before it is rendered: tables, facts and sentences.

One function builds each table from typed records; lthrun.report.terminal and page.html render it. So the two
media cannot disagree. A column that only one medium can show says so, and the other leaves it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Tone = Literal["", "good", "bad", "open", "dim"]
"""The color of a text; a color never carries a meaning that the text does not state."""
Medium = Literal["terminal", "page"]


class Cell(NamedTuple):
    text: str
    tone: Tone = ""


Row = Sequence[str | Cell]


class Column(NamedTuple):
    """A column of texts rather than numbers, or one that `only` one medium shows."""

    heading: str
    is_text: bool = True
    only: Medium | None = None


Columns = Sequence[str | Column]


@dataclass(frozen=True)
class Table:
    """Rows of texts under headings. The first column names the rows; a name that repeats is shown once.

    Attributes:
        columns: a heading alone stands for a column of numbers, the first for one of texts.
        note: a sentence or two below the table.
        footer: a last row with a total or a reference, one text per column.
    """

    title: str
    columns: Columns
    rows: Sequence[Row]
    note: str = ""
    footer: Row = ()

    def for_medium(self, medium: Medium) -> MediumTable:
        """Columns, rows and footer as `medium` shows them."""
        columns = [Column(c, k == 0) if isinstance(c, str) else c for k, c in enumerate(self.columns)]
        shown = [k for k, column in enumerate(columns) if column.only in (None, medium)]

        def cells(row: Row) -> list[Cell]:
            return [cell if isinstance(cell := row[k], Cell) else Cell(cell) for k in shown]

        footer = cells(self.footer) if self.footer else []
        return MediumTable([columns[k] for k in shown], [cells(row) for row in self.rows], footer)


class MediumTable(NamedTuple):
    columns: list[Column]
    rows: list[list[Cell]]
    footer: list[Cell]


class Fact(NamedTuple):
    """A line `name: value`."""

    name: str
    value: str
    tone: Tone = ""


class Answer(NamedTuple):
    """The result in a word, and in sentences of which the first says most; warnings are to be read before them."""

    word: str
    tone: Tone
    sentences: Sequence[str]
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class Report:
    """Everything that a report of a run or of a study says in words and numbers.

    Attributes:
        title: the settings of a run, the question of a study.
        about: what kind of thing was run.
        notes: what the numbers do not say.
        missing: results that a study lacks, and why.
        differs: settings that are not the defaults, by config key.
    """

    title: str
    about: str
    answer: Answer
    facts: Sequence[Fact]
    tables: Sequence[Table]
    notes: Sequence[str]
    missing: Sequence[str] = ()
    differs: dict[str, Any] = field(default_factory=dict)
