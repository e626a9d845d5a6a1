"""Accuracy of each arm against sparsity, beside the dense network and the majority rate."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from matplotlib.figure import Figure

from lthrun.experiments.summaries import StudySummary
from lthrun.report.figures.layout import (
    Margins,
    bounds,
    draw_interval,
    draw_majority,
    fit_labels,
    label_right,
    make_panels,
)
from lthrun.report.figures.plot import FIGURES, Plot, Row
from lthrun.report.figures.style import arm_style
from lthrun.report.wording import final_images, percent, seed_counts


@FIGURES.register("Accuracy against sparsity", "accuracy-by-sparsity", of="StudySummary")
def accuracy_by_sparsity(summary: StudySummary, metrics: Sequence[Row]) -> Plot:
    """The mean over seeds of each arm at each sparsity, with its interval."""
    rows = [
        {
            "arm": cell.arm,
            "sparsity": cell.sparsity,
            "n": cell.n,
            "images": final_images(summary),
            **bounds(cell.final_accuracy.mean, cell.final_accuracy.interval),
            "values": " ".join(map(str, cell.final_accuracy.values)),
        }
        for cell in summary.cells
    ]
    return Plot(
        f"Mean accuracy of the seeds ({seed_counts([cell.n for cell in summary.cells])}) after the last epoch, on "
        f"{final_images(summary)}; bars, and the band of the dense network, are 95 % intervals of the mean over seeds "
        "(none with fewer than three seeds). The axis is logarithmic in the remaining weights: fewer are left further "
        "right. Dotted: the majority rate, the accuracy of always answering the most common class; left out "
        "where it is far below.",
        rows,
        lambda narrow: draw(rows, summary.majority_rate, narrow),
    )


def position(sparsity: float) -> float:
    """Of a sparsity on the axis: the negative binary logarithm of the share of remaining weights."""
    return -math.log2(1 - sparsity / 100)


def draw(rows: Sequence[Row], rate: float, narrow: bool) -> Figure:
    figure, (axes,) = make_panels(narrow, 1, 3.6 if narrow else 3.9, Margins(left=0.42, right=1.4))
    axes.set_title("accuracy, %")
    axes.set_xlabel("sparsity")
    ends = draw_majority(axes, rate, [row["mean"] for row in rows])
    for row in rows:
        if row["sparsity"] is None:
            style = arm_style(row["arm"])
            axes.axhline(100 * row["mean"], **style.stroke)
            if row["arm"] == "dense" and row["low"] is not None:
                axes.axhspan(100 * row["low"], 100 * row["high"], color=style.color, alpha=0.08, linewidth=0)
            ends.append((100 * row["mean"], row["arm"], style._replace(marker="")))
    sparsities = sorted({row["sparsity"] for row in rows if row["sparsity"] is not None})
    positions = [position(sparsity) for sparsity in sparsities]
    nearest = min((b - a for a, b in itertools.pairwise(positions)), default=1.0)
    arms = list(dict.fromkeys(row["arm"] for row in rows if row["sparsity"] is not None))
    for k, arm in enumerate(arms):
        # Side by side, so that no interval hides another.
        shift = 0.45 * nearest * ((k + 0.5) / len(arms) - 0.5)
        points = sorted((row for row in rows if row["arm"] == arm), key=lambda row: float(row["sparsity"]))
        style, x = arm_style(arm), [position(row["sparsity"]) + shift for row in points]
        axes.plot(x, [100 * row["mean"] for row in points], **style.stroke)
        for at, row in zip(x, points, strict=True):
            interval = None if row["low"] is None else (100 * row["low"], 100 * row["high"])
            draw_interval(axes, at, 100 * row["mean"], interval, style)
        ends.append((100 * points[-1]["mean"], arm, style))
    if positions:
        axes.set_xlim(positions[0] - 0.35 * nearest, positions[-1] + 0.35 * nearest)
    axes.set_xticks(positions, fit_labels(axes, positions, list(map(percent, sparsities))))
    label_right(axes, ends)
    return figure
