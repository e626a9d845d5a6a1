"""A figure with the numbers behind it, as SVG, PNG and CSV; and the table of all figures.

Equal numbers give equal bytes. Every figure is drawn twice, for a wide page and for a narrow one.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from lthrun.registry import Entry, Table
from lthrun.report.figures.style import DARK, FONT, RC_PARAMS, WIDE


@dataclass(frozen=True)
class FigureEntry(Entry):
    """A figure: `make(summary, metrics)` returns its Plot, `about` is its title.

    Attributes:
        of: the name of the class of summaries that have it.
    """

    of: str = "RunSummary"


FIGURES: Table[FigureEntry] = Table("figures", "report.html", FigureEntry)


@dataclass(frozen=True)
class Plot:
    """`draw` makes the figure for a wide page (False) or a narrow one (True); `rows` are its numbers.

    Attributes:
        width: of the wide one, in inches.
    """

    caption: str
    rows: Sequence[dict[str, Any]]
    draw: Callable[[bool], Figure]
    width: float = WIDE

    @cached_property
    def svg(self) -> bytes:
        return self._svg(False)

    @cached_property
    def narrow_svg(self) -> bytes:
        return self._svg(True)

    def _svg(self, narrow: bool) -> bytes:
        with styled():
            file = io.BytesIO()
            no_metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
            self.draw(narrow).savefig(file, format="svg", metadata=no_metadata)
        # Rules that only a viewer with a dark background follows exchange the inks.
        dark = "".join(
            f'[style*="{what}: {light}"]{{{what}:{deep}!important}}'
            for light, deep in DARK.items()
            for what in ("fill", "stroke")
        )
        rules = f"text{{font-family:{FONT}!important}}@media(prefers-color-scheme:dark){{{dark}}}"
        return file.getvalue().replace(b"</style>", f"{rules}</style>".encode(), 1)

    @cached_property
    def png(self) -> bytes:
        with styled():
            file = io.BytesIO()
            self.draw(False).savefig(file, format="png", dpi=160, metadata={"Software": None})
        return file.getvalue()

    @cached_property
    def csv(self) -> str:
        """The rows under a heading; an empty field is a missing number."""
        file = io.StringIO()
        writer = csv.DictWriter(file, list(self.rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return file.getvalue()


@contextmanager
def styled() -> Iterator[None]:
    """matplotlib's own defaults and RC_PARAMS, whatever the user has set."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(RC_PARAMS)  # type: ignore[arg-type]
        yield
