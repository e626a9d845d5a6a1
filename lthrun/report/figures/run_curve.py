"""The learning curve of a run, over all its levels."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lthrun.experiments.summaries import RunSummary
from lthrun.report.figures.layout import LineEnd, Margins, draw_majority, label_right, make_panels
from lthrun.report.figures.plot import FIGURES, Plot
from lthrun.report.figures.style import FAINT, MUTED, ArmStyle, arm_style
from lthrun.report.run_report import part_of

Row = dict[str, Any]
KEYS = ("epoch", "level", "level_epoch", "sparsity", "train_loss", "valid_loss", "accuracy", "balanced_accuracy")


@FIGURES.register("Learning curve", "learning-curve")
def run_curve(summary: RunSummary, metrics: Sequence[Row]) -> Plot:
    """Losses, accuracy and sparsity after every epoch of every level."""
    rows = [{key: record[key] for key in KEYS} for record in metrics]
    lines = " Vertical lines: a level starts, or more is pruned; above them, the sparsity." if summary.sparsity else ""
    style = arm_style(part_of(summary).arm(summary))
    return Plot(
        "Losses and accuracy after each epoch, counted over the whole run. Dotted: the majority rate, the accuracy of "
        f"always answering the most common class.{lines}",
        rows,
        lambda narrow: draw(rows, summary.majority_rate, style, narrow),
    )


def draw(rows: Sequence[Row], rate: float, style: ArmStyle, narrow: bool) -> Figure:
    margins = Margins(0.45, 1.3, 0.5, 0.5, 1.35)
    figure, (losses, accuracies) = make_panels(narrow, 2, 2.4 if narrow else 2.9, margins)
    draw_lines(losses, rows, 1, {"valid_loss": ("validation", style), "train_loss": ("training", style.sibling)})
    losses.set_title("loss", pad=18)
    lines = {"accuracy": ("accuracy", style), "balanced_accuracy": ("balanced", style.sibling)}
    draw_lines(accuracies, rows, 100, lines, [draw_majority(accuracies, rate)])
    accuracies.set_title("accuracy, %", pad=18)
    for axes in (losses, accuracies):
        axes.set_xlabel("epochs")
        axes.set_xlim(0.5, len(rows) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        mark_levels(axes, rows, 8 if narrow else 10)
    return figure


def draw_lines(
    axes: Axes, rows: Sequence[Row], scale: int, lines: dict[str, tuple[str, ArmStyle]], ends: Sequence[LineEnd] = ()
) -> None:
    """A line per key of the rows, broken between levels; values that are missing are left out."""
    labels = list(ends)
    for key, (name, style) in lines.items():
        points: list[Row] = []
        for _, group in itertools.groupby((row for row in rows if row[key] is not None), lambda row: row["level"]):
            points = list(group)
            axes.plot(
                [row["epoch"] + 1 for row in points], [scale * row[key] for row in points], color=style.color,
                linestyle=style.line, marker=style.marker, markerfacecolor=style.face, markersize=4, linewidth=1.2,
            )  # fmt: skip
        if points:
            labels.append((scale * points[-1][key], name, style))
    label_right(axes, labels)


def mark_levels(axes: Axes, rows: Sequence[Row], most: int) -> None:
    """Lines where a level starts or more is pruned, and above at most `most` of them the sparsity."""

    def part(row: Row) -> tuple[int, float]:
        return row["level"], row["sparsity"]

    firsts = [rows[0], *(row for before, row in itertools.pairwise(rows) if part(before) != part(row))]
    if len(firsts) == 1:
        return
    for row in firsts[1:]:
        axes.axvline(row["epoch"] + 0.5, color=FAINT, linewidth=1)
    for row in firsts[:: -(-len(firsts) // most)]:
        axes.text(row["epoch"] + 0.6, 1.01, f"{row['sparsity']:.3g} %", transform=axes.get_xaxis_transform(),
                  va="bottom", fontsize=7, color=MUTED)  # fmt: skip
