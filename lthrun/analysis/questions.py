"""The questions of a study. They follow from its design, never from its results.

The primary question: does the ticket at the primary sparsity reach the accuracy of the dense network after the
same training? It is the first part of the claim "winning ticket"; the others are that the ticket there beats both
controls. All other questions are exploratory: other sparsities, balanced accuracy, early stopping, other arms.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lthrun.analysis.arm_results import MAJORITY, ArmResult, Design, ResultTable

CONTROLS = {"random-mask": "random masks", "random-init": "its own mask on other initial weights"}
"""The arms that a winning ticket has to beat."""
FEWEST_EVALUATIONS = 3
"""With fewer evaluations of a training the one of lowest loss says nothing about time."""


@dataclass(frozen=True)
class Question:
    """Does `arm` do better than `against` by a measure, at a sparsity in percent?

    Attributes:
        differences: one per seed, positive where the arm is better, in `unit` (`points`, `epochs` or `percent`).
        margin: the difference up to which the two are called equal, in the same unit.
        step: the smallest difference that the measure can show, in the same unit.
        condition: what the arm must win or match, too, before it wins here.
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
    condition: Question | None = None


@dataclass(frozen=True)
class StudyQuestions:
    """All questions of a study that have results for some seed."""

    primary: Question | None
    controls: list[Question]
    exploratory: list[Question]


def list_questions(table: ResultTable, design: Design) -> StudyQuestions:
    asked = [build_question(table, design, *names) for names in name_questions(table, design)]
    asked = [question for question in asked if question.seeds]
    claim = {question.against: question for question in asked if is_part_of_claim(question, design)}
    return StudyQuestions(
        primary=claim.get("dense"),
        controls=[claim[name] for name in CONTROLS if name in claim],
        exploratory=[question for question in asked if not is_part_of_claim(question, design)],
    )


def is_part_of_claim(question: Question, design: Design) -> bool:
    return (
        question.arm == "ticket"
        and question.against in ("dense", *CONTROLS)
        and question.measure == "accuracy"
        and question.sparsity == design.primary
    )


def name_questions(table: ResultTable, design: Design) -> Iterator[tuple[str, str, str, float]]:
    """Arm, the one it is compared with, measure and sparsity of each question."""
    arms = design.pairings.keys()
    for sparsity in design.sparsities:
        if {"ticket", "dense"} <= arms:
            yield "ticket", "dense", "accuracy", sparsity
            yield "ticket", "dense", "balanced_accuracy", sparsity
            pairs = table.pair("ticket", "dense", sparsity)
            if all(len(result.evaluations) >= FEWEST_EVALUATIONS for pair in pairs for result in pair):
                yield "ticket", "dense", "early_stopping", sparsity
        for name, (arm, against) in design.pairings.items():
            is_asked = name not in ("ticket", "dense") and {arm, against} <= arms | {MAJORITY}
            is_repeated = sparsity != design.sparsities[0] and all(map(table.is_dense, {arm, against} - {MAJORITY}))
            if is_asked and not is_repeated:
                yield arm, against, "accuracy", sparsity


def build_question(
    table: ResultTable, design: Design, arm: str, against: str, measure: str, sparsity: float
) -> Question:
    """The question with the differences of all seeds that have results for it."""
    if measure == "early_stopping":
        return ask_sooner(table, design, arm, against, sparsity)
    if against == MAJORITY:
        results = table.select(arm, sparsity)
        seeds = tuple(result.seed for result in results)
        differences = tuple(
            100 * (read_share(result, measure) - design.majority_rates[result.seed]) for result in results
        )
    else:
        pairs = table.pair(arm, against, sparsity)
        seeds = tuple(one.seed for one, _ in pairs)
        differences = tuple(100 * (read_share(one, measure) - read_share(other, measure)) for one, other in pairs)
    return Question(arm, against, measure, sparsity, seeds, differences, design.margin, 100 / design.n_final)


def ask_sooner(table: ResultTable, design: Design, arm: str, against: str, sparsity: float) -> Question:
    """Is the validation loss of `arm` lowest sooner, and then no worse?

    A network that overfits reaches its lowest loss soon as well. So the condition compares the lowest losses, in
    percent of the other's, and `design.margin` percent count as equal.
    """
    pairs = table.pair(arm, against, sparsity)
    seeds = tuple(one.seed for one, _ in pairs)
    losses = [(one.lowest.loss, other.lowest.loss) for one, other in pairs]
    lower = tuple(100 * (other - one) / max(other, 1e-9) for one, other in losses)
    sooner = tuple((other.lowest.step - one.lowest.step) / design.epoch_steps for one, other in pairs)
    condition = Question(arm, against, "lowest_loss", sparsity, seeds, lower, design.margin, 1e-6, "percent")
    step = design.evaluation_epochs
    return Question(arm, against, "early_stopping", sparsity, seeds, sooner, step, step, "epochs", condition)


def read_share(result: ArmResult, measure: str) -> float:
    """Accuracy or balanced accuracy after the last epoch, 0 to 1."""
    return result.final_balanced_accuracy if measure == "balanced_accuracy" else result.final_accuracy
