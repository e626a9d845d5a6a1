"""Panels of a figure, and what is placed in and beside them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lthrun.records import Interval
from lthrun.report.figures.style import MAJORITY, MUTED, NARROW, WIDE, ArmStyle
from lthrun.report.wording import is_far_below

LABEL_GAP = 0.155  # inches between the names of lines
LineEnd = tuple[float, str, ArmStyle]  # where a line ends, its name and its style


class Margins(NamedTuple):
    """Room around and between panels, in inches."""

    left: float = 0.5
    right: float = 0.2
    top: float = 0.35
    bottom: float = 0.5
    between: float = 0.5


def make_panels(
    narrow: bool, count: int, height: float, margins: Margins, wide: float = WIDE
) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, each `height` inches high: side by side, or stacked on a narrow page."""
    width = NARROW if narrow else wide
    rows, columns = (count, 1) if narrow else (1, count)
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


def size_in_inches(axes: Axes) -> tuple[float, float]:
    return axes.bbox.width / axes.figure.dpi, axes.bbox.height / axes.figure.dpi


def fit_labels(axes: Axes, places: Sequence[float], labels: Sequence[str]) -> list[str]:
    """Labels beside a horizontal axis whose limits are set; one that would touch the one before it is empty."""
    low, high = axes.get_xlim()
    width, _ = size_in_inches(axes)
    shown, end = [], -math.inf
    for place, label in zip(places, labels, strict=True):
        middle, half = (place - low) / (high - low) * width, 0.035 * len(label)
        shown.append(label if middle - half >= end else "")
        end = middle + half + 0.06 if shown[-1] else end
    return shown


def label_right(axes: Axes, ends: Sequence[LineEnd]) -> None:
    """Names beside the ends of their lines, at the right edge, moved apart where they would overlap.

    Each name has a key: marker and line.
    """
    low, high = axes.get_ylim()
    width, height = size_in_inches(axes)
    starts = [min(max((y - low) / (high - low), 0), 1) for y, _, _ in ends]
    placed = move_apart([start * height for start in starts], LABEL_GAP, height)
    for start, at, (_, name, style) in zip(starts, placed, ends, strict=True):
        line: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False}
        axes.plot([1, 1 + 0.12 / width], [start, at / height], color=MUTED, linewidth=0.4, **line)
        key = [1 + 0.14 / width, 1 + 0.25 / width, 1 + 0.36 / width]
        axes.plot(key, [at / height] * 3, **style.stroke, **line)
        axes.plot(key[1], at / height, markersize=5, **style.dot, **line)
        axes.text(key[2] + 0.06 / width, at / height, name, transform=axes.transAxes, va="center", fontsize=8)


def move_apart(wanted: Sequence[float], gap: float, top: float) -> list[float]:
    """Places between 0 and `top` that are `gap` apart, as near to the wanted ones as possible (if they fit at all)."""
    order = sorted(range(len(wanted)), key=lambda k: wanted[k])
    groups: list[tuple[float, int]] = []  # labels that touch form a group: its middle, and how many
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


def draw_interval(
    axes: Axes, x: float, y: float, ends: Interval | None, style: ArmStyle, horizontal: bool = False, size: float = 5
) -> None:
    """A marker with its interval; without an interval, the marker alone."""
    if ends is not None:
        (axes.hlines if horizontal else axes.vlines)(y if horizontal else x, *ends, color=style.color, linewidth=1.1)
    axes.plot(x, y, markersize=size, **style.dot)


def draw_majority(axes: Axes, rate: float, accuracies: Sequence[float]) -> list[LineEnd]:
    """The majority rate (0 to 1) as a dotted line; its label. Neither, where it is far below these accuracies."""
    if is_far_below(rate, accuracies):
        return []
    axes.axhline(100 * rate, **MAJORITY.stroke)
    return [(100 * rate, "majority rate", MAJORITY)]


def bounds(mean: float | None, interval: Interval | None) -> dict[str, float | None]:
    low, high = interval or (None, None)
    return {"mean": mean, "low": low, "high": high}
