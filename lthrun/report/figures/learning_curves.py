"""Learning curves of all arms of a study: validation loss and accuracy, the mean over seeds."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from lthrun.experiments.summaries import StudySummary
from lthrun.report.figures.layout import LineEnd, Margins, draw_majority, label_right, make_panels
from lthrun.report.figures.plot import FIGURES, Plot, Row
from lthrun.report.figures.style import arm_style
from lthrun.report.wording import at_sparsity


@FIGURES.register("Learning curves", "learning-curves", of="StudySummary")
def learning_curves(summary: StudySummary, metrics: Sequence[Row]) -> Plot:
    """Validation loss and accuracy over the training at the primary sparsity, the mean of the seeds."""
    sparsity = summary.primary.sparsity if summary.primary else summary.sparsities[0]
    shown = [record for record in metrics if record["sparsity"] in (None, sparsity)]
    rows = [row for arm in summary.arms for row in curve(arm, shown, summary.epoch_steps)]
    untrained = {record["arm"] for record in shown if record["train_loss"] is None}
    longest = 1.25 * summary.epochs
    cut = sorted({row["arm"] for row in rows if row["epochs"] > longest})
    return Plot(
        f"On the validation images{at_sparsity(sparsity)}: the mean over seeds; the band is the range of the seeds. "
        "The clock is that of the training: a training that was rewound to an epoch starts there."
        + (f" {', '.join(cut)} trained beyond the frame; the CSV has all of it." if cut else ""),
        rows,
        lambda narrow: draw(rows, untrained, summary.valid_majority_rate, longest, narrow),
    )


def curve(arm: str, metrics: Sequence[Row], epoch_steps: int) -> list[Row]:
    """A row per evaluation of an arm: mean, lowest and highest over the seeds."""
    own = [record for record in metrics if record["arm"] == arm]
    by_step: dict[int, dict[int, tuple[float, float]]] = {}
    # Interim evaluations may use a subset of the images, so they and ends of epochs cannot share a line.
    has_interim = any(record["interim_evaluations"] for record in own)
    for record in own:
        for moment in record["interim_evaluations"] if has_interim else [{**record, "loss": record["valid_loss"]}]:
            by_step.setdefault(moment["step"], {})[record["seed"]] = (moment["loss"], moment["accuracy"])
    rows = []
    for step, seeds in sorted(by_step.items()):
        row: Row = {"arm": arm, "step": step, "epochs": step / epoch_steps, "n": len(seeds)}
        for name, values in zip(("loss", "accuracy"), zip(*seeds.values(), strict=True), strict=True):
            row |= {f"{name}_mean": sum(values) / len(values), f"{name}_low": min(values), f"{name}_high": max(values)}
        rows.append(row)
    return rows


def draw(rows: Sequence[Row], untrained: set[str], rate: float, longest: float, narrow: bool) -> Figure:
    margins = Margins(left=0.45, right=1.4, between=0.45)
    figure, (losses, accuracies) = make_panels(narrow, 2, 2.7 if narrow else 3.4, margins)
    shown = [row for row in rows if row["epochs"] <= longest]
    arms = list(dict.fromkeys(row["arm"] for row in shown))
    for axes, name, scale in ((losses, "loss", 1), (accuracies, "accuracy", 100)):
        ends: list[LineEnd] = []
        for arm in arms:
            style, points = arm_style(arm), [row for row in shown if row["arm"] == arm]
            x = [row["epochs"] for row in points]
            if arm in untrained:  # evaluated once: a level line
                points, x = 2 * points[:1], [0, longest]
            mean, low, high = ([scale * row[f"{name}_{which}"] for row in points] for which in ("mean", "low", "high"))
            axes.fill_between(x, low, high, color=style.color, alpha=0.1, linewidth=0)
            axes.plot(x, mean, markevery=max(1, len(x) // 6), **style.stroke | style.dot)
            ends.append((mean[-1], arm, style))
        axes.set_title("validation loss" if name == "loss" else "accuracy, %")
        axes.set_xlabel("epochs")
        axes.set_xlim(0, 1.03 * (max((row["epochs"] for row in shown), default=0) or 1))
        if name == "accuracy":
            ends += draw_majority(axes, rate, [row["accuracy_mean"] for row in shown])
        if narrow or name == "accuracy":
            label_right(axes, ends)
    return figure
