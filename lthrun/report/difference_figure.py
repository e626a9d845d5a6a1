"""The paired differences of a study as a forest: the verdict at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import blended_transform_factory

from lthrun.report.figure_style import FAINT, INK, MUTED, Margins, Plot, bounds, error_bars, look, panels
from lthrun.report.wording import confidences, percent, seeds

MEASURES = {
    "accuracy": "accuracy, points",
    "balanced_accuracy": "balanced accuracy, points",
    "early_stopping": "early stopping, epochs",
}
Line = tuple[str, str, float | None]  # arm, what it is compared with, sparsity


def differences(summary: dict[str, Any]) -> Plot:
    """All comparisons as a forest: the primary one first, then arm by arm."""
    rows = [
        {
            **{key: row[key] for key in ("arm", "against", "sparsity", "measure", "primary", "n")},
            **bounds(row["mean"], row["interval"]),
            **{key: row[key] for key in ("confidence", "p", "p_holm", "word", "unit")},
            "seeds": " ".join(map(str, row["seeds"])),
            "differences": " ".join(map(str, row["differences"])),
        }
        for row in summary["comparisons"]
    ]
    margin = summary["margin"]
    primary, secondary = ([row for row in rows if row["primary"] is which] for which in (True, False))
    return Plot(
        "differences",
        "Differences, seed by seed",
        "Mean of the paired differences with its interval: right of zero the arm is better than what it is compared "
        f"with: more accurate, or that many epochs earlier at its lowest validation loss. The band is the margin of "
        f"±{margin:g} points within which two count as equal. The first row in bold is the primary comparison "
        f"({confidences(primary)} interval, {seeds(primary)}); the others are secondary, Holm-corrected "
        f"({confidences(secondary)}, {seeds(secondary)}). An arrow points to what lies outside the frame.",
        rows,
        lambda narrow: draw_differences(rows, margin, narrow),
    )


def draw_differences(rows: Sequence[dict[str, Any]], margin: float, narrow: bool) -> Figure:
    measures = [measure for measure in MEASURES if any(row["measure"] == measure for row in rows)]
    lines = list(dict.fromkeys(compared(row) for row in sorted(rows, key=lambda row: not row["primary"])))
    first = next((compared(row) for row in rows if row["primary"]), None)
    heights: dict[Line, float] = {}
    y, before = 0.0, first
    for line in lines:
        y -= 1.6 if heights and (before == first or before is None or before[:2] != line[:2]) else 1.0
        heights[line], before = y, line
    room = 1.5 if narrow or len({line[1] for line in lines}) == 1 else 2.3  # inches, for the names of both arms
    margins = Margins(left=room, right=0.75, between=0.75)
    figure, all_axes = panels(narrow, len(measures), 0.165 * (1 - y) + 0.1, margins)
    for axes, measure in zip(all_axes, measures, strict=True):
        here = [row for row in rows if row["measure"] == measure]
        axes.set_title(MEASURES[measure])
        axes.grid(False)
        axes.spines["left"].set_visible(False)
        axes.set_ylim(y - 0.8, -0.2)
        axes.set_yticks([])
        left, right = frame(here, margin)
        axes.set_xlim(left, right)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        if measure != "early_stopping":
            axes.axvspan(max(-margin, left), min(margin, right), color=FAINT, linewidth=0)
        axes.axvline(0, color=MUTED, linewidth=0.8)
        for row in here:
            draw_difference(axes, row, heights[compared(row)], left, right)
        if narrow or axes is all_axes[0]:
            name_rows(axes, heights, first, room - 0.1, "\n" if narrow else " ")
    return figure


def compared(row: dict[str, Any]) -> Line:
    return row["arm"], row["against"], row["sparsity"]


def frame(rows: Sequence[dict[str, Any]], margin: float) -> tuple[float, float]:
    """What of the axis is shown: all, but no further than six margins or the primary's interval."""
    ends = [end for row in rows for end in (row["low"], row["mean"], row["high"]) if end is not None] or [0.0]
    primary = [abs(row[end]) for row in rows if row["primary"] for end in ("low", "high") if row[end] is not None]
    most = max(6 * margin, *primary, 0.0)
    return max(min(*ends, -1.3 * margin), -most) - 0.2 * margin, min(max(*ends, 1.3 * margin), most) + 0.2 * margin


def draw_difference(axes: Axes, row: dict[str, Any], y: float, left: float, right: float) -> None:
    """One interval with its mean, and beside it the word."""
    if row["mean"] is None:
        return
    shown, size = look(row["arm"]), 7 if row["primary"] else 5
    if left < row["mean"] < right:
        low, high = (None if row[end] is None else min(max(row[end], left), right) for end in ("low", "high"))
        error_bars(axes, row["mean"], y, low, high, shown, upright=False, markersize=size)
    for end, mark in ((left, "<"), (right, ">")):
        reached = row["mean"] if row["low"] is None else row["low" if end == left else "high"]
        if reached < left if end == left else reached > right:
            axes.plot(end, y, mark, color=shown.color, markersize=4, clip_on=False)
    if not left < row["mean"] < right:
        near = left if row["mean"] < left else right
        inward = 1 if near == left else -1
        axes.annotate(f"{row['mean']:.1f}".replace("-", "−"), (near, y), (7 * inward, 0), textcoords="offset points",
                      va="center", ha="left" if inward > 0 else "right", fontsize=7, color=MUTED)  # fmt: skip
    if row["word"]:
        at = blended_transform_factory(axes.transAxes, axes.transData)
        weight, color = ("bold", INK) if row["primary"] else ("normal", MUTED)
        axes.text(1.03, y, row["word"], transform=at, va="center", fontsize=7.5, weight=weight, color=color)


def name_rows(axes: Axes, heights: dict[Line, float], first: Line | None, room: float, gap: str) -> None:
    """Sparsity at the left, and in `room` inches both arms with a `gap` between, at the first of their rows."""
    at = blended_transform_factory(axes.transAxes, axes.transData)
    width = axes.get_position().width * axes.get_figure(root=True).get_figwidth()  # type: ignore[union-attr]
    against = {line[1] for line in heights}
    named: tuple[str, str] | None = None
    for line, y in heights.items():
        arm, other, sparsity = line
        weight = "bold" if line == first else "normal"
        text: dict[str, Any] = {"transform": at, "va": "center", "fontsize": 8, "weight": weight}
        if (arm, other) != named:
            name = arm if len(against) == 1 else f"{arm} −{gap}{other}"
            axes.text(-room / width, y, name, **text)
        if sparsity is not None:
            axes.text(-0.08 / width, y, percent(sparsity), ha="right", color=MUTED, **text)
        named = None if line == first else (arm, other)
