"""How figures look: one colour, marker and line for each arm, everywhere; legible in grey, on light and dark ground.

Colours are those of Okabe and Ito (2008), which the colour-blind tell apart; none speaks alone, without a marker
and a line style. Figures are made without pyplot and its global state, and equal numbers give equal bytes.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, MUTED, FAINT, PAPER = "#1b1f24", "#676d75", "#e3e5e8", "#ffffff"
ORANGE, SKY, GREEN, BLUE, VERMILLION, PURPLE = "#e69f00", "#56b4e9", "#009e73", "#0072b2", "#d55e00", "#cc79a7"
GREY = "#999999"
# What takes the place of these on a dark ground; the other colours are seen on both.
DARK = {INK: "#e8e6e3", MUTED: "#a2a8b0", FAINT: "#32363c", PAPER: "#15171a", BLUE: "#4aa5dc"}
WIDE, NARROW = 8.6, 3.9
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
STYLE: dict[str, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.titlecolor": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.unicode_minus": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "text.color": INK,
    "figure.facecolor": PAPER,
    "axes.facecolor": "none",
    "lines.linewidth": 1.5,
    "lines.markersize": 5,
    "path.simplify": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "lthrun",
}


class Look(NamedTuple):
    """Colour, marker and line; hollow and dashed are siblings of the arm whose colour they share."""

    color: str
    marker: str = "o"
    line: Any = "-"
    hollow: bool = False

    @property
    def face(self) -> str:
        return PAPER if self.hollow else self.color


DASHED, DOTTED, DASHDOT = (0, (4, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5))
ARMS = {
    "dense": Look(INK, "o"),
    "dense-budget": Look(INK, "o", DASHED, True),
    "ticket": Look(BLUE, "s"),
    "ticket-rewind": Look(VERMILLION, "D"),
    "lr-rewind": Look(VERMILLION, "D", DASHED, True),
    "supermask": Look(PURPLE, "*", DOTTED),
    "random-mask": Look(ORANGE, "^", DASHED),
    "random-init": Look(SKY, "v", DASHED),
    "one-shot": Look(GREEN, "P", DASHDOT),
    "prune": Look(GREY, "X", DASHDOT),
}


def look(arm: str) -> Look:
    """The look of an arm; of one that has none of its own, a plain grey."""
    return ARMS.get(arm, Look(GREY, "h", DOTTED))


@dataclass(frozen=True)
class Plot:
    """A figure and the numbers behind it. `draw` makes it for a wide page or for a narrow one."""

    name: str
    title: str
    caption: str
    rows: Sequence[dict[str, Any]]
    draw: Callable[[bool], Figure]
    width: float = WIDE  # of the wide one, in inches

    @cached_property
    def svg(self) -> bytes:
        return self._svg(False)

    @cached_property
    def narrow_svg(self) -> bytes:
        return self._svg(True)

    def _svg(self, narrow: bool) -> bytes:
        with styled():
            file = io.BytesIO()
            nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
            self.draw(narrow).savefig(file, format="svg", metadata=nothing)
        # On a dark ground the inks change places: rules that only a viewer with such a ground follows.
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
        """The rows, with a heading; an empty field is a number that there is not."""
        file = io.StringIO()
        writer = csv.DictWriter(file, list(self.rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return file.getvalue()


@contextmanager
def styled() -> Iterator[None]:
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)  # type: ignore[arg-type]
        yield


class Margins(NamedTuple):
    """Room around and between panels, in inches."""

    left: float = 0.5
    right: float = 0.2
    top: float = 0.35
    bottom: float = 0.5
    between: float = 0.5


def panels(
    narrow: bool, count: int, height: float, margins: Margins, beside: bool = True, wide: float = WIDE
) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, each `height` inches high: beside each other if wanted, below where it is narrow."""
    width = NARROW if narrow else wide
    rows, columns = (1, count) if beside and not narrow else (count, 1)
    inside = width - margins.left - margins.right
    tall = rows * height + (rows - 1) * (margins.between + 0.3) + margins.top + margins.bottom
    panel = (inside - (columns - 1) * margins.between) / columns
    figure = Figure(figsize=(width, tall))
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw={
        "left": margins.left / width, "right": 1 - margins.right / width,
        "bottom": margins.bottom / tall, "top": 1 - margins.top / tall,
        "wspace": margins.between / panel, "hspace": (margins.between + 0.3) / height,
    })  # fmt: skip
    return figure, list(axes.flat)


def label_right(axes: Axes, ends: Sequence[tuple[float, str, Look]], gap: float = 0.155) -> None:
    """Names beside where their lines end, at the right edge, moved apart where they would meet (`gap` in inches)."""
    low, high = axes.get_ylim()
    figure = axes.get_figure(root=True)
    assert figure is not None
    width, tall = (
        axes.get_position().width * figure.get_figwidth(),
        axes.get_position().height * figure.get_figheight(),
    )
    inches = [(min(max((y - low) / (high - low), 0), 1)) * tall for y, _, _ in ends]
    for (y, name, shown), at in zip(ends, apart(inches, gap, tall), strict=True):
        start = min(max((y - low) / (high - low), 0), 1)
        line: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False}
        axes.plot([1, 1 + 0.12 / width], [start, at / tall], color=MUTED, linewidth=0.4, **line)
        key = [1 + 0.14 / width, 1 + 0.25 / width, 1 + 0.36 / width]
        axes.plot(key, [at / tall] * 3, color=shown.color, linestyle=shown.line, linewidth=1.2, **line)
        axes.plot(key[1], at / tall, shown.marker, color=shown.color, markerfacecolor=shown.face, **line)
        axes.text(key[2] + 0.06 / width, at / tall, name, transform=axes.transAxes, va="center", fontsize=8)


def apart(wanted: Sequence[float], gap: float, top: float) -> list[float]:
    """Places between 0 and `top` that lie `gap` apart, as near to the wanted ones as may be (if they fit at all)."""
    order = sorted(range(len(wanted)), key=lambda k: wanted[k])
    groups: list[tuple[float, int]] = []  # what has met stands together: the middle, and how many
    for k in order:
        groups.append((wanted[k], 1))
        while True:
            middle, n = groups.pop()
            half = gap * (n - 1) / 2
            middle = max(min(middle, top - half), half)
            if not groups or middle - groups[-1][0] >= gap * (n + groups[-1][1]) / 2:
                groups.append((middle, n))
                break
            before, m = groups.pop()
            groups.append(((before * m + middle * n) / (m + n), m + n))
    placed = (middle + gap * (k - (n - 1) / 2) for middle, n in groups for k in range(n))
    return [place for _, place in sorted(zip(order, placed, strict=True))]


def error_bars(axes: Axes, x: Any, y: Any, low: Any, high: Any, shown: Look, upright: bool = True, **how: Any) -> None:
    """A marker with its interval; where there is no interval, a marker alone."""
    if low is not None:
        between, across = (axes.vlines, x) if upright else (axes.hlines, y)
        between(across, low, high, color=shown.color, linewidth=1.1)
    axes.plot(x, y, shown.marker, color=shown.color, markerfacecolor=shown.face, **how)


def bounds(mean: float | None, interval: Sequence[float] | None) -> dict[str, float | None]:
    low, high = interval or (None, None)
    return {"mean": mean, "low": low, "high": high}
