"""The figures of a run: its learning curve over all levels, and the accuracy at the end of each."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lthrun.experiments.summaries import RunSummary
from lthrun.report.figures.layout import LineEnd, Margins, draw_interval, draw_majority, label_right, make_panels
from lthrun.report.figures.plot import FIGURES, Plot, Row
from lthrun.report.figures.style import FAINT, MUTED, ArmStyle, arm_style
from lthrun.report.run_report import part_of
from lthrun.report.wording import percent

KEYS = ("epoch", "level", "level_epoch", "sparsity", "train_loss", "valid_loss", "accuracy", "balanced_accuracy")
LEVELS_WIDTH = 6.4  # inches


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
        lambda narrow: draw_curve(rows, summary.majority_rate, style, narrow),
    )


def draw_curve(rows: Sequence[Row], rate: float, style: ArmStyle, narrow: bool) -> Figure:
    margins = Margins(0.45, 1.3, 0.5, 0.5, 1.35)
    figure, (losses, accuracies) = make_panels(narrow, 2, 2.4 if narrow else 2.9, margins)
    draw_lines(losses, rows, 1, {"valid_loss": ("validation", style), "train_loss": ("training", style.sibling)})
    losses.set_title("loss", pad=18)
    lines = {"accuracy": ("accuracy", style), "balanced_accuracy": ("balanced", style.sibling)}
    majority = draw_majority(accuracies, rate, [row[key] for row in rows for key in lines])
    draw_lines(accuracies, rows, 100, lines, majority)
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
            x, y = [row["epoch"] + 1 for row in points], [scale * row[key] for row in points]
            axes.plot(x, y, **style.stroke | style.dot)
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


@FIGURES.register("Accuracy, level by level", "accuracy-by-level")
def accuracy_by_level(summary: RunSummary, metrics: Sequence[Row]) -> Plot:
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
        lambda narrow: draw_levels(rows, summary.majority_rate, style, narrow),
        LEVELS_WIDTH,
    )


def draw_levels(rows: Sequence[Row], rate: float, style: ArmStyle, narrow: bool) -> Figure:
    figure, (axes,) = make_panels(narrow, 1, 2.4, Margins(left=0.45, right=1.3), wide=LEVELS_WIDTH)
    axes.set_title("accuracy, %")
    axes.set_xlabel("sparsity of the level")
    ends = draw_majority(axes, rate, [row[key] for row in rows for key in ("accuracy", "balanced_accuracy")])
    for shift, key, prefix, line in (
        (-0.08, "accuracy", "", style),
        (0.08, "balanced_accuracy", "balanced_", style.sibling),
    ):
        x = [k + shift for k in range(len(rows))]
        axes.plot(x, [100 * row[key] for row in rows], **line.stroke)
        for at, row in zip(x, rows, strict=True):
            draw_interval(axes, at, 100 * row[key], (100 * row[f"{prefix}low"], 100 * row[f"{prefix}high"]), line)
        ends.append((100 * rows[-1][key], prefix.strip("_") or "accuracy", line))
    every = -(-len(rows) // (5 if narrow else 9))
    axes.set_xticks(range(0, len(rows), every), [percent(row["sparsity"]) for row in rows[::every]])
    axes.set_xlim(-0.4, len(rows) - 0.6)
    label_right(axes, ends)
    return figure
