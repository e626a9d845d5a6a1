"""The figures of one run, drawn from its summary and records alone."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lthrun.report.connectivity_figure import error_on_the_way
from lthrun.report.figure_style import (
    DASHED,
    DOTTED,
    FAINT,
    MUTED,
    Look,
    Margins,
    Plot,
    error_bars,
    label_right,
    look,
    panels,
)
from lthrun.report.mask_figures import draw_layers
from lthrun.report.wording import percent

LEVELS = 6.4  # inches


def run_plots(summary: dict[str, Any], metrics: Sequence[dict[str, Any]]) -> list[Plot]:
    """The curve over the whole run; of a chain of levels the accuracy at each; of a sparse network its layers."""
    plots = [error_on_the_way(summary["connectivity"])] if "connectivity" in summary else []
    plots.append(run_curve(summary, metrics))
    if len(summary["levels"]) > 1:
        plots.append(accuracy_by_level(summary))
    if summary["sparsity"] > 0:
        plots.append(run_layers(summary))
    return plots


def shown_as(summary: dict[str, Any]) -> Look:
    """The look of the arm that was trained: under a supermask of method `lth` it is the ticket."""
    if summary["experiment"] == "baseline":
        return look("dense")
    return look("ticket" if summary.get("supermask", {}).get("method") == "lth" else summary["experiment"])


def run_curve(summary: dict[str, Any], metrics: Sequence[dict[str, Any]]) -> Plot:
    """Losses, accuracy and sparsity after every epoch of every level."""
    keys = ("epoch", "level", "level_epoch", "sparsity", "train_loss", "valid_loss", "accuracy", "balanced_accuracy")
    rows = [{key: record[key] for key in keys} for record in metrics]
    parted = " Vertical lines: a level begins, or more is pruned; above them, the sparsity."
    return Plot(
        "learning-curve",
        "Learning curve",
        "Losses and accuracy after each epoch, counted over the whole run. Dotted: the majority rate, which is always "
        "answering the most common class." + (parted if summary["sparsity"] else ""),
        rows,
        lambda narrow: draw_run(rows, summary["majority_rate"], shown_as(summary), narrow),
    )


def draw_run(rows: Sequence[dict[str, Any]], rate: float, shown: Look, narrow: bool) -> Figure:
    figure, (losses, accuracies) = panels(narrow, 2, 2.4 if narrow else 2.9, Margins(0.45, 1.3, 0.5, 0.5, 1.35))
    of_rate = Look(MUTED, "", DOTTED)
    other = shown._replace(line=DASHED, hollow=True)
    for axes, title, scale, lines in (
        (losses, "loss", 1, (("valid_loss", "validation", shown), ("train_loss", "training", other))),
        (accuracies, "accuracy, %", 100, (("accuracy", "accuracy", shown), ("balanced_accuracy", "balanced", other))),
    ):
        ends = []
        for key, name, line in lines:
            for _, group in itertools.groupby(rows, lambda row: row["level"]):
                points = list(group)
                axes.plot(
                    [row["epoch"] + 1 for row in points], [scale * row[key] for row in points], color=line.color,
                    linestyle=line.line, marker=line.marker, markerfacecolor=line.face, markersize=4, linewidth=1.2,
                )  # fmt: skip
            ends.append((scale * rows[-1][key], name, line))
        if axes is accuracies:
            axes.axhline(100 * rate, color=MUTED, linestyle=DOTTED, linewidth=1.2)
            ends.append((100 * rate, "majority rate", of_rate))
        axes.set_title(title, pad=18)
        axes.set_xlabel("epochs")
        axes.set_xlim(0.5, len(rows) + 0.5)
        part_levels(axes, rows, 8 if narrow else 10)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        label_right(axes, ends)
    return figure


def part_levels(axes: Axes, rows: Sequence[dict[str, Any]], most: int) -> None:
    """Lines where a level begins or more is pruned, and above them the sparsity, of so many at most."""
    firsts = [rows[0]] + [row for before, row in itertools.pairwise(rows) if part(before) != part(row)]
    if len(firsts) == 1:
        return
    every = -(-len(firsts) // most)
    for row in firsts[1:]:
        axes.axvline(row["epoch"] + 0.5, color=FAINT, linewidth=1)
    for row in firsts[::every]:
        axes.text(row["epoch"] + 0.6, 1.01, f"{row['sparsity']:.3g} %", transform=axes.get_xaxis_transform(),
                  va="bottom", fontsize=7, color=MUTED)  # fmt: skip


def part(row: dict[str, Any]) -> tuple[int, float]:
    return row["level"], row["sparsity"]


def accuracy_by_level(summary: dict[str, Any]) -> Plot:
    """Accuracy after the last epoch of each level, with the interval over images."""
    rows = [
        {
            "level": level["level"],
            "sparsity": level["sparsity"],
            "epochs": level["epochs"],
            "n": summary["n_valid"],
            **{key: level[key] for key in ("accuracy", "balanced_accuracy")},
            "low": level["accuracy_interval"][0],
            "high": level["accuracy_interval"][1],
            "balanced_low": level["balanced_accuracy_interval"][0],
            "balanced_high": level["balanced_accuracy_interval"][1],
        }
        for level in summary["levels"]
    ]
    return Plot(
        "accuracy-by-level",
        "Accuracy, level by level",
        f"After the last epoch of each level, with 95 % intervals over the {summary['n_valid']:,} validation images: "
        "they speak of other images, not of other seeds. Dotted: the majority rate.",
        rows,
        lambda narrow: draw_levels(rows, summary["majority_rate"], shown_as(summary), narrow),
        LEVELS,
    )


def draw_levels(rows: Sequence[dict[str, Any]], rate: float, shown: Look, narrow: bool) -> Figure:
    figure, (axes,) = panels(narrow, 1, 2.4, Margins(left=0.45, right=1.3), wide=LEVELS)
    axes.set_title("accuracy, %")
    axes.set_xlabel("sparsity of the level")
    hollow = shown._replace(line=DASHED, hollow=True)
    for aside, key, prefix, line in ((-0.08, "accuracy", "", shown), (0.08, "balanced_accuracy", "balanced_", hollow)):
        x = [k + aside for k in range(len(rows))]
        axes.plot(x, [100 * row[key] for row in rows], color=line.color, linestyle=line.line, linewidth=1)
        for at, row in zip(x, rows, strict=True):
            error_bars(axes, at, 100 * row[key], 100 * row[f"{prefix}low"], 100 * row[f"{prefix}high"], line)
    axes.axhline(100 * rate, color=MUTED, linestyle=DOTTED, linewidth=1.2)
    every = -(-len(rows) // (5 if narrow else 9))
    axes.set_xticks(range(0, len(rows), every), [percent(row["sparsity"]) for row in rows[::every]])
    axes.set_xlim(-0.4, len(rows) - 0.6)
    label_right(axes, [
        (100 * rows[-1]["accuracy"], "accuracy", shown), (100 * rows[-1]["balanced_accuracy"], "balanced", hollow),
        (100 * rate, "majority rate", Look(MUTED, "", DOTTED)),
    ])  # fmt: skip
    return figure


def run_layers(summary: dict[str, Any]) -> Plot:
    """Percent of the weights that are zero at the end, layer by layer."""
    layers = summary["levels"][-1]["layers"]
    rows = [
        {"sparsity": summary["sparsity"], "layer": name.removesuffix(".weight"), "pruned": 100 * zero / of,
         "lowest": None, "highest": None, "zero": zero, "of": of}
        for name, (zero, of) in layers.items()
    ]  # fmt: skip
    return Plot(
        "sparsity-per-layer",
        "Sparsity, layer by layer",
        "Percent of each layer's weights that are zero at the end, counted, in the model's order. Vertical line: the "
        "sparsity of the whole.",
        [{key: row[key] for key in ("layer", "zero", "of", "pruned")} for row in rows],
        lambda narrow: draw_layers(rows, narrow),
    )
