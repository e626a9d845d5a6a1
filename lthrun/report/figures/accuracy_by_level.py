"""Accuracy at the end of each level of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from lthrun.experiments.summaries import RunSummary
from lthrun.report.figures.layout import Margins, draw_interval, draw_majority, label_right, make_panels
from lthrun.report.figures.plot import FIGURES, Plot
from lthrun.report.figures.style import ArmStyle, arm_style
from lthrun.report.run_report import part_of
from lthrun.report.wording import percent

WIDTH = 6.4  # inches


@FIGURES.register("Accuracy, level by level", "accuracy-by-level")
def accuracy_by_level(summary: RunSummary, metrics: Sequence[dict[str, Any]]) -> Plot:
    """Of a run of several levels: accuracies after their last epochs, with intervals over images."""
    rows = [
        {
            "level": level.level, "sparsity": level.sparsity, "epochs": level.epochs, "n": summary.n_valid,
            "accuracy": level.accuracy, "balanced_accuracy": level.balanced_accuracy,
            **dict(zip(("low", "high"), level.accuracy_interval, strict=True)),
            **dict(zip(("balanced_low", "balanced_high"), level.balanced_accuracy_interval, strict=True)),
        }
        for level in (summary.levels if len(summary.levels) > 1 else [])
    ]  # fmt: skip
    style = arm_style(part_of(summary).arm(summary))
    return Plot(
        f"After the last epoch of each level, with 95 % intervals, n = {summary.n_valid:,}. Dotted: the majority rate.",
        rows,
        lambda narrow: draw(rows, summary.majority_rate, style, narrow),
        WIDTH,
    )


def draw(rows: Sequence[dict[str, Any]], rate: float, style: ArmStyle, narrow: bool) -> Figure:
    figure, (axes,) = make_panels(narrow, 1, 2.4, Margins(left=0.45, right=1.3), wide=WIDTH)
    axes.set_title("accuracy, %")
    axes.set_xlabel("sparsity of the level")
    ends = [draw_majority(axes, rate)]
    for shift, key, prefix, line in (
        (-0.08, "accuracy", "", style),
        (0.08, "balanced_accuracy", "balanced_", style.sibling),
    ):
        x = [k + shift for k in range(len(rows))]
        axes.plot(x, [100 * row[key] for row in rows], color=line.color, linestyle=line.line, linewidth=1)
        for at, row in zip(x, rows, strict=True):
            draw_interval(axes, at, 100 * row[key], (100 * row[f"{prefix}low"], 100 * row[f"{prefix}high"]), line)
        ends.append((100 * rows[-1][key], prefix.strip("_") or "accuracy", line))
    every = -(-len(rows) // (5 if narrow else 9))
    axes.set_xticks(range(0, len(rows), every), [percent(row["sparsity"]) for row in rows[::every]])
    axes.set_xlim(-0.4, len(rows) - 0.6)
    label_right(axes, ends)
    return figure
