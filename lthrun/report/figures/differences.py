"""The paired differences of a study as a forest plot: the verdict at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import blended_transform_factory

from lthrun.experiments.summaries import StudySummary
from lthrun.report.figures.layout import Margins, bounds, draw_interval, make_panels, size_in_inches
from lthrun.report.figures.plot import FIGURES, Plot
from lthrun.report.figures.style import FAINT, INK, MUTED, arm_style
from lthrun.report.wording import MEASURES, confidences, percent, seed_counts

Row = dict[str, Any]
Line = tuple[str, str, float | None]  # arm, its rival, sparsity


@FIGURES.register("Differences, paired by seed", "differences", of="StudySummary")
def differences(summary: StudySummary, metrics: Sequence[Row]) -> Plot:
    """All comparisons: the primary one first, then arm by arm."""
    rows = [
        {
            **row.model_dump(include={"arm", "against", "sparsity", "measure", "is_primary", "n"}),
            **bounds(row.mean, row.interval),
            **row.model_dump(include={"confidence", "p", "p_holm", "word", "unit"}),
            "seeds": " ".join(map(str, row.seeds)),
            "differences": " ".join(map(str, row.differences)),
        }
        for row in summary.comparisons
    ]
    of_primary, of_others = (
        f"{confidences(part)} intervals, {seed_counts([row.n for row in part])}"
        for part in ([row for row in summary.comparisons if row.is_primary is which] for which in (True, False))
    )
    return Plot(
        "Mean of the paired differences with its interval: right of zero the arm is better than its rival, more "
        "accurate or that many epochs earlier at its lowest validation loss. The band is the equivalence margin of "
        f"±{summary.margin:g} points. Bold: the primary comparison ({of_primary}); the others are exploratory, "
        f"Holm-corrected ({of_others}). An arrow points to what is outside the frame.",
        rows,
        lambda narrow: draw(rows, summary.margin, narrow),
    )


def draw(rows: Sequence[Row], margin: float, narrow: bool) -> Figure:
    measures = [measure for measure in MEASURES if any(row["measure"] == measure for row in rows)]
    lines = list(dict.fromkeys(line_of(row) for row in sorted(rows, key=lambda row: not row["is_primary"])))
    primary = next((line_of(row) for row in rows if row["is_primary"]), None)
    heights: dict[Line, float] = {}
    y, before = 0.0, primary
    for line in lines:
        y -= 1.6 if heights and (before == primary or before is None or before[:2] != line[:2]) else 1.0
        heights[line], before = y, line
    room = 1.5 if narrow or len({line[1] for line in lines}) == 1 else 2.3  # inches, for the names of both arms
    margins = Margins(left=room, right=0.8, between=0.8)
    figure, all_axes = make_panels(narrow, len(measures), 0.165 * (1 - y) + 0.1, margins)
    for axes, measure in zip(all_axes, measures, strict=True):
        shown = [row for row in rows if row["measure"] == measure]
        axes.set_title(f"{MEASURES[measure]}, {shown[0]['unit']}")
        axes.grid(False)
        axes.spines["left"].set_visible(False)
        axes.set_ylim(y - 0.8, -0.2)
        axes.set_yticks([])
        left, right = frame(shown, margin)
        axes.set_xlim(left, right)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        if measure != "early_stopping":
            axes.axvspan(max(-margin, left), min(margin, right), color=FAINT, linewidth=0)
        axes.axvline(0, color=MUTED, linewidth=0.8)
        for row in shown:
            draw_difference(axes, row, heights[line_of(row)], left, right)
        if narrow or axes is all_axes[0]:
            label_rows(axes, heights, primary, room - 0.1, "\n" if narrow else " ")
    return figure


def line_of(row: Row) -> Line:
    return row["arm"], row["against"], row["sparsity"]


def frame(rows: Sequence[Row], margin: float) -> tuple[float, float]:
    """The shown part of the axis: everything, but no further than six margins or the primary's interval."""
    ends = [end for row in rows for end in (row["low"], row["mean"], row["high"]) if end is not None] or [0.0]
    primary = [abs(row[end]) for row in rows if row["is_primary"] for end in ("low", "high") if row[end] is not None]
    most = max(6 * margin, *primary, 0.0)
    return max(min(*ends, -1.3 * margin), -most) - 0.2 * margin, min(max(*ends, 1.3 * margin), most) + 0.2 * margin


def draw_difference(axes: Axes, row: Row, y: float, left: float, right: float) -> None:
    """One interval with its mean, and its verdict beside it."""
    if row["mean"] is None:
        return
    style, mean = arm_style(row["arm"]), row["mean"]
    low, high = (mean, mean) if row["low"] is None else (row["low"], row["high"])
    if left < mean < right:
        shown = None if row["low"] is None else (max(low, left), min(high, right))
        draw_interval(axes, mean, y, shown, style, True, 7 if row["is_primary"] else 5)
    else:
        edge, inward = (left, 1) if mean < left else (right, -1)
        axes.annotate(f"{mean:.1f}".replace("-", "−"), (edge, y), (7 * inward, 0), textcoords="offset points",
                      va="center", ha="left" if inward > 0 else "right", fontsize=7, color=MUTED)  # fmt: skip
    for is_outside, edge, marker in ((low < left, left, "<"), (high > right, right, ">")):
        if is_outside:
            axes.plot(edge, y, marker, color=style.color, clip_on=False)
    if row["word"]:
        beside = blended_transform_factory(axes.transAxes, axes.transData)
        weight, color = ("bold", INK) if row["is_primary"] else ("normal", MUTED)
        axes.text(1.03, y, row["word"], transform=beside, va="center", fontsize=7.5, weight=weight, color=color)


def label_rows(axes: Axes, heights: dict[Line, float], primary: Line | None, room: float, gap: str) -> None:
    """In `room` inches left of the axes: the arms with a `gap` between them at their first row, and each sparsity."""
    beside = blended_transform_factory(axes.transAxes, axes.transData)
    width, _ = size_in_inches(axes)
    is_one_rival = len({line[1] for line in heights}) == 1
    labeled: tuple[str, str] | None = None
    for line, y in heights.items():
        arm, rival, sparsity = line
        text: dict[str, Any] = {
            "transform": beside, "va": "center", "fontsize": 8, "weight": "bold" if line == primary else "normal"
        }  # fmt: skip
        if (arm, rival) != labeled:
            axes.text(-room / width, y, arm if is_one_rival else f"{arm} −{gap}{rival}", **text)
        if sparsity is not None:
            axes.text(-0.08 / width, y, percent(sparsity), ha="right", color=MUTED, **text)
        labeled = None if line == primary else (arm, rival)
