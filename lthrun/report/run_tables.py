"""Tables and facts that every run has."""

from __future__ import annotations

from collections.abc import Iterable

from lthrun.experiments.summaries import RunSummary
from lthrun.records import Measured
from lthrun.report.tables import Column, Fact, Table, Tone
from lthrun.report.wording import clock, with_interval


def run_tables(summary: RunSummary) -> list[Table]:
    return [level_table(summary), *([layer_table(summary)] if summary.sparsity > 0 else [])]


def level_table(summary: RunSummary) -> Table:
    """Accuracy after the last epoch of each level."""
    rows = [
        [
            str(level.level), f"{level.sparsity:.2f}", *both_accuracies(level), f"{100 * level.best_accuracy:.1f}",
            *([with_interval(level.test.accuracy, level.test.accuracy_interval)] if level.test else []),
            str(level.epochs), clock(level.seconds), "yes" if level.reused else "no",
        ]
        for level in summary.levels
    ]  # fmt: skip
    epochs = Column("epochs", is_text=False, only="page")
    tests = [Column("test %", is_text=False, only="page")] if any(level.test for level in summary.levels) else []
    return Table(
        "Levels",
        ["level", "sparse %", "accuracy %", "balanced %", "best %", *tests, epochs, "time", "reused"],
        rows,
        f"After the last epoch, with 95 % intervals, n = {summary.n_valid:,}. Best: of the best epoch (selected on the "
        "validation set, so optimistic).",
    )


def layer_table(summary: RunSummary) -> Table:
    """Pruned weights per layer at the end of the last level."""
    layers = summary.levels[-1].layers
    pruned, total = (sum(counts) for counts in zip(*layers.values(), strict=True))
    return Table(
        "Pruned weights per layer, counted at the end",
        ["layer", "pruned", "weights", "sparse %"],
        [[name.removesuffix(".weight"), *layer_cells(*counts)] for name, counts in layers.items()],
        footer=["all", *layer_cells(pruned, total)],
    )


def layer_cells(pruned: int, total: int) -> list[str]:
    return [f"{pruned:,}", f"{total:,}", f"{100 * pruned / total:.2f}"]


def both_accuracies(measured: Measured) -> list[str]:
    """Accuracy and balanced accuracy in percent, with their intervals."""
    return [
        with_interval(measured.accuracy, measured.accuracy_interval),
        with_interval(measured.balanced_accuracy, measured.balanced_accuracy_interval),
    ]


def accuracy_facts(of: str, measured: Measured, summary: RunSummary) -> Iterable[Fact]:
    """The accuracies of the network that `of` names, beside chance."""
    accuracy, balanced = both_accuracies(measured)
    chance = f"{100 / len(summary.classes):.0f} %"
    yield Fact(f"Accuracy{of}", f"{accuracy} %, with 95 % interval, n = {summary.n_valid:,}")
    yield Fact(f"Balanced accuracy{of}", f"{balanced} %, with 95 % interval; chance is {chance}")


def accuracy_in_words(measured: Measured, summary: RunSummary) -> str:
    """`an accuracy of 75.0 % (95 % interval 72.7 to 77.1, n = 1,478)`"""
    low, high = measured.accuracy_interval
    interval = f"95 % interval {100 * low:.1f} to {100 * high:.1f}, n = {summary.n_valid:,}"
    return f"an accuracy of {100 * measured.accuracy:.1f} % ({interval})"


def against_majority(measured: Measured, summary: RunSummary) -> tuple[str, Tone]:
    """How an accuracy compares with the majority rate, by its whole interval."""
    low, high = measured.accuracy_interval
    rate = summary.majority_rate
    word = "above" if low > rate else "below" if high < rate else "not distinguishable from"
    return f"{word} the majority rate", "good" if low > rate else "open"
