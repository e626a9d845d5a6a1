"""What a study found: comparisons, means with intervals, and training time to equal accuracy."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lthrun.analysis.sentences import verdict
from lthrun.analysis.verdict import Question, answer_all, mean_interval

MAJORITY = "majority rate"


@dataclass(frozen=True)
class Result:
    """What an arm came to for a seed, at a sparsity in percent (None: at all of them).

    `epochs` are the records of its last training (lthrun.training.loop.Record); `steps` of that training and
    `search_steps` of everything before it as well; `measured` is the percent of weights that are zero.
    """

    arm: str
    seed: int
    sparsity: float | None
    epochs: Sequence[Mapping[str, Any]]
    steps: int
    search_steps: int
    measured: float

    @property
    def looks(self) -> list[Mapping[str, Any]]:
        """All validations, with `step`, `loss` and `accuracy`: those within epochs, or those at their ends."""
        within = [look for epoch in self.epochs for look in epoch.get("looks", [])]
        return within or [{**epoch, "loss": epoch["valid_loss"]} for epoch in self.epochs]

    @property
    def early_stop(self) -> int:
        """The clock at the lowest validation loss (Frankle & Carbin 2019, section 2: the early-stopping iteration)."""
        return int(min(self.looks, key=lambda look: look["loss"])["step"])

    def reaches(self, accuracy: float) -> int | None:
        """The clock when it first has that accuracy; None if it never has."""
        return next((int(look["step"]) for look in self.looks if look["accuracy"] >= accuracy), None)


@dataclass(frozen=True)
class Design:
    """What was fixed before anything was trained.

    Attributes:
        rivals: by arm, which arm asks about which other: ("ticket", "random-mask") or ("prune", "dense").
        margin: up to how many points two arms match.
        look: epochs between two validations.
        n: number of validation images.
    """

    seeds: Sequence[int]
    sparsities: Sequence[float]
    rivals: Mapping[str, tuple[str, str]]
    margin: float
    epoch_steps: int
    look: float
    majority_rate: float
    n: int


FEWEST_LOOKS = 3
"""With fewer validations of a training the one of lowest loss says nothing of time."""


def findings(results: Sequence[Result], design: Design) -> dict[str, Any]:
    """The part of a study's summary that answers its questions."""
    table = Table(results, design)
    primary, secondary = questions(table, design)
    comparisons = answer_all(primary, secondary)
    reach = reached(table, design)
    return {
        "seeds": list(design.seeds),
        "arms": list(design.rivals),
        "sparsities": list(design.sparsities),
        "margin": design.margin,
        "question": f"Does the ticket at {design.sparsities[0]:g} % reach the accuracy of the dense network in the "
        "same training time?",
        "verdict": verdict(comparisons, reach, design),
        "comparisons": comparisons,
        "reach": reach,
        "cells": cells(results, design),
    }


class Table:
    """Results by arm, seed and sparsity."""

    def __init__(self, results: Sequence[Result], design: Design):
        self._by = {(r.arm, r.seed, r.sparsity): r for r in results}
        self.seeds = design.seeds

    def get(self, arm: str, seed: int, sparsity: float) -> Result | None:
        return self._by.get((arm, seed, sparsity)) or self._by.get((arm, seed, None))

    def pairs(self, arm: str, against: str, sparsity: float) -> list[tuple[Result, Result]]:
        """The results of two arms, of those seeds that both have."""
        both = ((self.get(arm, seed, sparsity), self.get(against, seed, sparsity)) for seed in self.seeds)
        return [(one, other) for one, other in both if one and other]

    def all(self, arm: str, sparsity: float) -> list[Result]:
        return [found for seed in self.seeds if (found := self.get(arm, seed, sparsity))]


def last(result: Result, measure: str) -> float:
    """Accuracy or balanced accuracy after the last epoch, 0 to 1."""
    return float(result.epochs[-1][measure])


def questions(table: Table, design: Design) -> tuple[Question | None, list[Question]]:
    """The primary question, if it can be asked, and the secondary ones."""
    have = design.rivals.keys()
    both = {"ticket", "dense"} <= have
    primary = ask(table, design, "ticket", "dense", "accuracy", design.sparsities[0]) if both else None
    asked: list[Question] = []
    for sparsity in design.sparsities:
        if both:
            measures = ["accuracy"] if sparsity != design.sparsities[0] else []
            measures.append("balanced_accuracy")
            pairs = table.pairs("ticket", "dense", sparsity)
            if all(len(result.looks) >= FEWEST_LOOKS for pair in pairs for result in pair):
                measures.append("early_stopping")
            asked += [ask(table, design, "ticket", "dense", measure, sparsity) for measure in measures]
        for name, (arm, against) in design.rivals.items():
            if name not in ("ticket", "dense") and {arm, against} <= have | {MAJORITY}:
                asked.append(ask(table, design, arm, against, "accuracy", sparsity))
    return primary if primary and primary.differences else None, [
        question for question in asked if question.differences
    ]


def ask(table: Table, design: Design, arm: str, against: str, measure: str, sparsity: float) -> Question:
    image = 100 / design.n
    if against == MAJORITY:
        own = table.all(arm, sparsity)
        found = tuple(100 * (last(result, measure) - design.majority_rate) for result in own)
        return Question(arm, against, measure, sparsity, seeds_of(own), found, design.margin, image)
    pairs = table.pairs(arm, against, sparsity)
    seeds = seeds_of(one for one, _ in pairs)
    if measure == "early_stopping":
        earlier = tuple((other.early_stop - one.early_stop) / design.epoch_steps for one, other in pairs)
        return Question(arm, against, measure, sparsity, seeds, earlier, design.look, design.look, "epochs")
    better = tuple(100 * (last(one, measure) - last(other, measure)) for one, other in pairs)
    return Question(arm, against, measure, sparsity, seeds, better, design.margin, image)


def seeds_of(results: Iterable[Result]) -> tuple[int, ...]:
    return tuple(result.seed for result in results)


def reached(table: Table, design: Design) -> list[dict[str, Any]]:
    """When each arm first had the accuracy at which the dense network of its seed ended; who never had is counted.

    Both accuracies are of the same validation images, those of the looks. An arm that is never trained has no time.
    """
    found = []
    for arm in design.rivals:
        for sparsity in design.sparsities[:1] if arm == "dense" else design.sparsities:
            pairs = [pair for pair in table.pairs(arm, "dense", sparsity) if pair[0].steps]
            steps = [one.reaches(dense.looks[-1]["accuracy"]) for one, dense in pairs]
            if not steps:
                continue
            there = [step / design.epoch_steps for step in steps if step is not None]
            found.append(
                {
                    "arm": arm,
                    "sparsity": None if arm == "dense" else sparsity,
                    "reached": len(there),
                    "of": len(steps),
                    "median_epochs": statistics.median(there) if there else None,
                }
            )
    return found


def cells(results: Sequence[Result], design: Design) -> list[dict[str, Any]]:
    """Means over the seeds, per arm and sparsity."""
    groups: dict[tuple[str, float | None], list[Result]] = {}
    for result in results:
        groups.setdefault((result.arm, result.sparsity), []).append(result)
    return [
        {
            "arm": arm,
            "sparsity": sparsity,
            "n": len(group),
            "seeds": list(seeds_of(group)),
            **{m: mean_interval([last(r, m) for r in group], 1 / design.n) for m in ("accuracy", "balanced_accuracy")},
            "epochs": group[0].steps / design.epoch_steps,
            "search_epochs": group[0].search_steps / design.epoch_steps,
            "measured_sparsity": statistics.fmean(r.measured for r in group),
        }
        for (arm, sparsity), group in groups.items()
    ]
