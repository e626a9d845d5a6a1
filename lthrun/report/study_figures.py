"""The figures of a study, each drawn from its summary and records alone, with the rows behind it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.figure import Figure

from lthrun.report.difference_figure import differences
from lthrun.report.figure_style import (
    DOTTED,
    MUTED,
    Look,
    Margins,
    Plot,
    bounds,
    error_bars,
    label_right,
    look,
    panels,
)  # fmt: skip
from lthrun.report.mask_figures import layer_sparsity, mask_overlap
from lthrun.report.wording import percent, seeds


def study_plots(summary: dict[str, Any], metrics: Sequence[dict[str, Any]]) -> list[Plot]:
    """All figures that there are numbers for."""
    plots = [
        differences(summary), accuracy_by_sparsity(summary), learning_curves(summary, metrics),
        layer_sparsity(summary["layers"]), mask_overlap(summary["overlap"]),
    ]  # fmt: skip
    return [plot for plot in plots if plot.rows]


# Accuracy against sparsity


def accuracy_by_sparsity(summary: dict[str, Any]) -> Plot:
    """The mean of each arm over the seeds at each sparsity, with its interval."""
    rows = [
        {
            "arm": cell["arm"],
            "sparsity": cell["sparsity"],
            "n": cell["n"],
            **bounds(cell["accuracy"]["mean"], cell["accuracy"]["interval"]),
            "values": " ".join(map(str, cell["accuracy"]["values"])),
        }
        for cell in summary["cells"]
    ]
    rate = summary["majority_rate"]
    return Plot(
        "accuracy-by-sparsity",
        "Accuracy against sparsity",
        f"Mean accuracy of the seeds ({seeds(rows)}) after the last epoch; bars, and the band of the dense network, "
        "are 95 % intervals of the mean over other seeds (none of fewer than three). The further right, the fewer "
        "weights are left (the axis is logarithmic in what is left). Dotted: the majority rate, which is always "
        "answering the most common class.",
        rows,
        lambda narrow: draw_accuracy(rows, rate, narrow),
    )


def place(sparsity: float) -> float:
    """Where a sparsity lies on the axis: the binary logarithm of what is left."""
    return -math.log2(1 - sparsity / 100)


def by_sparsity(row: dict[str, Any]) -> float:
    return float(row["sparsity"])


def draw_accuracy(rows: Sequence[dict[str, Any]], rate: float, narrow: bool) -> Figure:
    figure, (axes,) = panels(narrow, 1, 3.6 if narrow else 3.9, Margins(left=0.42, right=1.4))
    axes.set_title("accuracy, %")
    axes.set_xlabel("sparsity")
    sparsities = sorted({row["sparsity"] for row in rows if row["sparsity"] is not None})
    places = [place(sparsity) for sparsity in sparsities]
    nearest = min((b - a for a, b in itertools.pairwise(places)), default=1.0)
    arms = list(dict.fromkeys(row["arm"] for row in rows if row["sparsity"] is not None))
    ends = [(100 * rate, "majority rate", Look(MUTED, "", DOTTED))]
    axes.axhline(100 * rate, color=MUTED, linestyle=DOTTED, linewidth=1.2)
    for row in rows:
        if row["sparsity"] is None and row["mean"] is not None:
            shown = look(row["arm"])
            axes.axhline(100 * row["mean"], color=shown.color, linestyle=shown.line, linewidth=1.2)
            if row["arm"] == "dense" and row["low"] is not None:
                axes.axhspan(100 * row["low"], 100 * row["high"], color=shown.color, alpha=0.08, linewidth=0)
            ends.append((100 * row["mean"], row["arm"], shown._replace(marker="")))
    for k, arm in enumerate(arms):
        # Beside each other, so that no interval hides another.
        aside = 0.45 * nearest * ((k + 0.5) / len(arms) - 0.5)
        shown = look(arm)
        points = sorted((row for row in rows if row["arm"] == arm and row["mean"] is not None), key=by_sparsity)
        x = [place(row["sparsity"]) + aside for row in points]
        axes.plot(x, [100 * row["mean"] for row in points], color=shown.color, linestyle=shown.line, linewidth=1.1)
        for at, row in zip(x, points, strict=True):
            low, high = (None if row[end] is None else 100 * row[end] for end in ("low", "high"))
            error_bars(axes, at, 100 * row["mean"], low, high, shown)
        if points:
            ends.append((100 * points[-1]["mean"], arm, shown))
    if places:
        axes.set_xlim(places[0] - 0.35 * nearest, places[-1] + 0.35 * nearest)
    axes.set_xticks(places, [percent(sparsity) for sparsity in sparsities])
    label_right(axes, ends)
    return figure


# Learning curves


def learning_curves(summary: dict[str, Any], metrics: Sequence[dict[str, Any]]) -> Plot:
    """Validation loss and accuracy over the training, the mean of the seeds at each look."""
    sparsity = summary["sparsities"][0] if summary["sparsities"] else None
    here = [record for record in metrics if record["sparsity"] in (None, sparsity)]
    rows = [row for arm in summary["arms"] for row in curve(arm, here, summary["epoch_steps"])]
    untrained = {record["arm"] for record in here if record["train_loss"] is None}
    most = 1.25 * summary["epochs"]
    shorten = sorted({row["arm"] for row in rows if row["epochs"] > most})
    further = f" {', '.join(shorten)} trained on beyond the frame; the CSV has it all." if shorten else ""
    at = "" if sparsity is None else f" at {percent(sparsity)}"
    return Plot(
        "learning-curves",
        f"Learning curves{at}",
        "On the validation images, the mean over the seeds; the band reaches from the lowest seed to the highest. The "
        "clock is that of the training: a training that was rewound to an epoch starts there." + further,
        rows,
        lambda narrow: draw_curves(rows, untrained, summary["majority_rate"], most, narrow),
    )


def curve(arm: str, metrics: Iterable[dict[str, Any]], epoch_steps: int) -> list[dict[str, Any]]:
    """A row per moment at which the arm was looked at: mean, lowest and highest over the seeds."""
    looks: dict[int, dict[int, tuple[float, float]]] = {}
    metrics = list(metrics)
    looked = any(record["looks"] for record in metrics if record["arm"] == arm)
    for record in metrics:
        if record["arm"] == arm:
            # Looks may see a part of the images: they and ends of epochs do not belong on one line.
            for moment in record["looks"]:
                looks.setdefault(moment["step"], {})[record["seed"]] = (moment["loss"], moment["accuracy"])
            if not looked:
                looks.setdefault(record["step"], {})[record["seed"]] = (record["valid_loss"], record["accuracy"])
    rows = []
    for step, seen in sorted(looks.items()):
        row: dict[str, Any] = {"arm": arm, "step": step, "epochs": step / epoch_steps, "n": len(seen)}
        for name, values in zip(("loss", "accuracy"), zip(*seen.values(), strict=True), strict=True):
            row |= {f"{name}_mean": sum(values) / len(values), f"{name}_low": min(values), f"{name}_high": max(values)}
        rows.append(row)
    return rows


def draw_curves(rows: Sequence[dict[str, Any]], untrained: set[str], rate: float, most: float, narrow: bool) -> Figure:
    figure, (losses, accuracies) = panels(
        narrow, 2, 2.7 if narrow else 3.4, Margins(left=0.45, right=1.4, between=0.45)
    )
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    for axes, name, scale in ((losses, "loss", 1), (accuracies, "accuracy", 100)):
        ends = []
        for arm in arms:
            shown = look(arm)
            points = [row for row in rows if row["arm"] == arm and row["epochs"] <= most]
            if not points:
                continue
            x = [row["epochs"] for row in points]
            if arm in untrained:  # looked at once: a level line
                points, x = 2 * points[:1], [0, most]
            mean, low, high = ([scale * row[f"{name}_{which}"] for row in points] for which in ("mean", "low", "high"))
            axes.fill_between(x, low, high, color=shown.color, alpha=0.1, linewidth=0)
            every: dict[str, Any] = {"markevery": max(1, len(x) // 6), "markersize": 4}
            axes.plot(x, mean, color=shown.color, linestyle=shown.line, marker=shown.marker,
                      markerfacecolor=shown.face, linewidth=1.3, **every)  # fmt: skip
            ends.append((mean[-1], arm, shown))
        axes.set_title("validation loss" if name == "loss" else "accuracy, %")
        axes.set_xlabel("epochs")
        axes.set_xlim(0, 1.03 * (max((row["epochs"] for row in rows if row["epochs"] <= most), default=0) or 1))
        if name == "accuracy":
            axes.axhline(100 * rate, color=MUTED, linestyle=DOTTED, linewidth=1.2)
            ends.append((100 * rate, "majority rate", Look(MUTED, "", DOTTED)))
        if narrow or name == "accuracy":
            label_right(axes, ends)
    return figure
