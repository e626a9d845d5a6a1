"""The questions of a study. They follow from its design, never from its results.

The primary question: does the ticket at the first sparsity reach the accuracy of the dense network in the same training
time? All others are secondary: other sparsities, balanced accuracy, early stopping, the ticket's controls, other arms.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lthrun.analysis.arm_results import MAJORITY, ArmResult, Design, ResultTable

FEWEST_EVALUATIONS = 3
"""With fewer evaluations of a training the one of lowest loss says nothing about time."""


@dataclass(frozen=True)
class Question:
    """Does `arm` do better than `against` by a measure, at a sparsity in percent?

    Attributes:
        differences: one per seed, positive where the arm is better, in `unit` (`points` of percent, or `epochs`).
        margin: the difference up to which the two are called equal, in the same unit.
        step: the smallest difference that the measure can show, in the same unit.
    """

    arm: str
    against: str
    measure: str
    sparsity: float | None
    seeds: tuple[int, ...]
    differences: tuple[float, ...]
    margin: float
    step: float
    unit: str = "points"


def list_questions(table: ResultTable, design: Design) -> tuple[Question | None, list[Question]]:
    """The primary question, if both its arms have results for some seed, and the secondary ones."""
    has_primary = {"ticket", "dense"} <= design.pairings.keys()
    primary = (
        build_question(table, design, "ticket", "dense", "accuracy", design.sparsities[0]) if has_primary else None
    )
    secondary = [
        build_question(table, design, arm, against, measure, sparsity)
        for arm, against, measure, sparsity in name_secondary(table, design)
    ]
    return primary if primary and primary.seeds else None, [question for question in secondary if question.seeds]


def name_secondary(table: ResultTable, design: Design) -> Iterator[tuple[str, str, str, float]]:
    """Arm, the one it is compared with, measure and sparsity of each secondary question."""
    arms = design.pairings.keys()
    for sparsity in design.sparsities:
        if {"ticket", "dense"} <= arms:
            if sparsity != design.sparsities[0]:
                yield "ticket", "dense", "accuracy", sparsity
            yield "ticket", "dense", "balanced_accuracy", sparsity
            pairs = table.pair("ticket", "dense", sparsity)
            if all(len(result.evaluations) >= FEWEST_EVALUATIONS for pair in pairs for result in pair):
                yield "ticket", "dense", "early_stopping", sparsity
        for name, (arm, against) in design.pairings.items():
            if name not in ("ticket", "dense") and {arm, against} <= arms | {MAJORITY}:
                yield arm, against, "accuracy", sparsity


def build_question(
    table: ResultTable, design: Design, arm: str, against: str, measure: str, sparsity: float
) -> Question:
    """The question with the differences of all seeds that have results for it."""
    if against == MAJORITY:
        results = table.select(arm, sparsity)
        seeds = tuple(result.seed for result in results)
        differences = tuple(100 * (read_share(result, measure) - design.majority_rate) for result in results)
    else:
        pairs = table.pair(arm, against, sparsity)
        seeds = tuple(one.seed for one, _ in pairs)
        if measure == "early_stopping":
            steps = [(one.early_stopping_step, other.early_stopping_step) for one, other in pairs]
            sooner = tuple((other - one) / design.epoch_steps for one, other in steps)
            interval = design.evaluation_epochs
            return Question(arm, against, measure, sparsity, seeds, sooner, interval, interval, "epochs")
        differences = tuple(100 * (read_share(one, measure) - read_share(other, measure)) for one, other in pairs)
    return Question(arm, against, measure, sparsity, seeds, differences, design.margin, 100 / design.n_valid)


def read_share(result: ArmResult, measure: str) -> float:
    """Accuracy or balanced accuracy after the last epoch, 0 to 1."""
    return result.last.balanced_accuracy if measure == "balanced_accuracy" else result.last.accuracy
