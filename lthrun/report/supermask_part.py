"""What the report of a supermask adds: the mask on untrained weights beside what it has to beat."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from lthrun.report.run_tables import accuracy_facts, accuracy_in_words, both_accuracies
from lthrun.report.tables import Answer, Fact, Table
from lthrun.report.wording import with_interval

if TYPE_CHECKING:
    from lthrun.experiments.supermask import Range, Spread, SupermaskResult, SupermaskSummary


def measured(summary: SupermaskSummary) -> SupermaskResult:
    return summary.supermask


def answer(summary: SupermaskSummary) -> Answer:
    mask = summary.supermask
    chance = 1 / len(summary.classes)
    over = f"above {100 * chance:.0f} %"
    if mask.better_than_chance:
        word, reason = "better than chance", f"balanced accuracy is {over} and above all random masks"
    else:
        is_over_chance = mask.balanced_accuracy_interval[0] > chance
        missed = "above all random masks" if is_over_chance else f"{over} with its whole interval"
        word, reason = "not shown to be better than chance", f"balanced accuracy is not {missed}"
    return Answer(
        word,
        "good" if mask.better_than_chance else "open",
        [f"The supermask is {word}: {reason}.", f"On untrained weights it has {accuracy_in_words(mask, summary)}."],
    )


def facts(summary: SupermaskSummary) -> Iterable[Fact]:
    mask = summary.supermask
    yield from accuracy_facts(" of the mask", mask, summary)
    if mask.method == "lth":
        yield from accuracy_facts(" of the trained ticket", summary, summary)
    if mask.weights_unchanged is True:
        yield Fact("Weights", "bit-identical to initialization after training", "good")
    if mask.weights_unchanged is False:
        yield Fact("Weights", "CHANGED in training: this is a bug, please report it", "bad")


def tables(summary: SupermaskSummary) -> list[Table]:
    mask = summary.supermask
    rows = [["the mask", *both_accuracies(mask)]]
    rows += [[f"its mask at {level.sparsity:.2f} %", *both_accuracies(level)] for level in mask.levels[:-1]]
    if mask.sampled:
        rows.append([f"{mask.sampled.n} sampled masks", *spread_cells(mask.sampled)])
    rows.append(["no mask (dense)", *both_accuracies(mask.dense)])
    rows.append([f"{mask.random.n} random masks", *spread_cells(mask.random)])
    if mask.method == "lth":
        rows.append(["the trained ticket", *both_accuracies(summary)])
    return [
        Table(
            f"The mask ({mask.method}) on untrained weights ({mask.weights})",
            ["network", "accuracy %", "balanced %"],
            rows,
            f"Batch norm: {mask.batch_norm}. With 95 % intervals, n = {summary.n_valid:,}; for several masks the mean, "
            "and lowest to highest.",
        )
    ]


def spread_cells(spread: Spread) -> list[str]:
    def cell(values: Range) -> str:
        return with_interval(values.mean, (values.lowest, values.highest))

    return [cell(spread.accuracy), cell(spread.balanced_accuracy)]


def arm(summary: SupermaskSummary) -> str:
    return "ticket" if summary.supermask.method == "lth" else "supermask"
