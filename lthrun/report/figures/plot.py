"""A figure with the numbers behind it, as SVG, PNG and CSV; and the table of all figures.

Equal numbers give equal bytes. Every figure is drawn twice, for a wide page and for a narrow one.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from matplotlib import style
from matplotlib.figure import Figure

from lthrun.registry import Entry, Table
from lthrun.report.figures.style import DARK, FONT, RC_PARAMS, WIDE

Row = dict[str, Any]


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
    rows: Sequence[Row]
    draw: Callable[[bool], Figure]
    width: float = WIDE

    @cached_property
    def svg(self) -> bytes:
        return self._svg(False)

    @cached_property
    def narrow_svg(self) -> bytes:
        return self._svg(True)

    @cached_property
    def png(self) -> bytes:
        return self._save(False, format="png", dpi=160, metadata={"Software": None})

    def _svg(self, narrow: bool) -> bytes:
        no_metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
        svg = self._save(narrow, format="svg", metadata=no_metadata)
        # Rules that only a viewer with a dark background follows exchange the inks.
        dark = "".join(
            f'[style*="{what}: {light}"]{{{what}:{deep}!important}}'
            for light, deep in DARK.items()
            for what in ("fill", "stroke")
        )
        rules = f"text{{font-family:{FONT}!important}}@media(prefers-color-scheme:dark){{{dark}}}"
        return svg.replace(b"</style>", f"{rules}</style>".encode(), 1)

    def _save(self, narrow: bool, **options: Any) -> bytes:
        """The figure as a file, drawn with matplotlib's own defaults and RC_PARAMS, whatever the user has set."""
        file = io.BytesIO()
        with style.context(RC_PARAMS, after_reset=True):
            self.draw(narrow).savefig(file, **options)
        return file.getvalue()

    @cached_property
    def csv(self) -> str:
        """The rows under a heading; an empty field is a missing number."""
        file = io.StringIO()
        writer = csv.DictWriter(file, list(self.rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return file.getvalue()
