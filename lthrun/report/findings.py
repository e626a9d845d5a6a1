"""What a study found: comparisons, means with intervals, training time to equal accuracy, and the verdict in words."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lthrun.report.verdict import CONTROLS, FEWEST, Question, answer_all, mean_interval, winning
from lthrun.report.wording import signed

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
    """

    seeds: Sequence[int]
    sparsities: Sequence[float]
    rivals: Mapping[str, tuple[str, str]]
    margin: float
    epoch_steps: int
    look: float
    majority_rate: float


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
            measures += ["balanced_accuracy", "early_stopping"]
            asked += [ask(table, design, "ticket", "dense", measure, sparsity) for measure in measures]
        for name, (arm, against) in design.rivals.items():
            if name not in ("ticket", "dense") and {arm, against} <= have | {MAJORITY}:
                asked.append(ask(table, design, arm, against, "accuracy", sparsity))
    return primary if primary and primary.differences else None, [
        question for question in asked if question.differences
    ]


def ask(table: Table, design: Design, arm: str, against: str, measure: str, sparsity: float) -> Question:
    if against == MAJORITY:
        rates = [last(result, measure) for result in table.all(arm, sparsity)]
        found = tuple(100 * (rate - design.majority_rate) for rate in rates)
        return Question(arm, against, measure, sparsity, found, design.margin)
    pairs = table.pairs(arm, against, sparsity)
    if measure == "early_stopping":
        earlier = tuple((other.early_stop - one.early_stop) / design.epoch_steps for one, other in pairs)
        return Question(arm, against, measure, sparsity, earlier, design.look, "epochs")
    better = tuple(100 * (last(one, measure) - last(other, measure)) for one, other in pairs)
    return Question(arm, against, measure, sparsity, better, design.margin)


def reached(table: Table, design: Design) -> list[dict[str, Any]]:
    """When each arm first had the accuracy at which the dense network of its seed ended; who never had is counted.

    Both accuracies are of the same validation images, those of the looks.
    """
    found = []
    for name, (arm, against) in design.rivals.items():
        own = arm if against != name else against
        for sparsity in design.sparsities[:1] if own == "dense" else design.sparsities:
            pairs = table.pairs(own, "dense", sparsity)
            steps = [one.reaches(dense.looks[-1]["accuracy"]) for one, dense in pairs]
            if not steps:
                continue
            there = [step / design.epoch_steps for step in steps if step is not None]
            found.append(
                {
                    "arm": own,
                    "sparsity": None if own == "dense" else sparsity,
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
            **{m: mean_interval([last(r, m) for r in group]) for m in ("accuracy", "balanced_accuracy")},
            "epochs": group[0].steps / design.epoch_steps,
            "search_epochs": group[0].search_steps / design.epoch_steps,
            "measured_sparsity": statistics.fmean(r.measured for r in group),
        }
        for (arm, sparsity), group in groups.items()
    ]


def verdict(comparisons: Sequence[dict[str, Any]], reach: Sequence[dict[str, Any]], design: Design) -> dict[str, Any]:
    """The word for the primary question, whether the ticket is a winning one, and both halves in sentences."""
    first = comparisons[0] if comparisons and comparisons[0]["primary"] else None
    if first is None:
        return {"word": None, "winning_ticket": None, "sentences": [
            "No verdict: its question is about the arms ticket and dense, and no seed has both of them."
        ]}  # fmt: skip
    won = winning(comparisons, design.sparsities[0])
    said = [accuracy_said(first, design), *([winning_said(comparisons, won, design)] if first["word"] else [])]
    return {"word": first["word"], "winning_ticket": won, "sentences": [*said, *time_said(comparisons, reach, design)]}


def accuracy_said(first: Mapping[str, Any], design: Design) -> str:
    n = first["n"]
    if first["word"] is None:
        return (
            f"No verdict: {n} {'seed has' if n == 1 else 'seeds have'} both ticket and dense, and fewer than {FEWEST} "
            "say nothing about how much a result depends on chance."
        )
    name = f"The ticket at {first['sparsity']:g} %"
    shown = f"{signed(first['mean'])} points ({interval(first)}, {n} seeds)"
    said: dict[str, Callable[[], str]] = {
        "wins": lambda: f"{name} wins: after the same training it is more accurate than the dense network, {shown}.",
        "matches": lambda: (
            f"{name} matches the dense network after the same training: the difference, {shown}, lies "
            f"within ±{design.margin:g} points."
        ),
        "loses": lambda: f"{name} loses: after the same training it is less accurate than the dense network, {shown}.",
        "undecided": lambda: (
            f"Undecided: after the same training the ticket at {first['sparsity']:g} % differs from "
            f"the dense network by {shown}. {seeds_said(first['more_seeds'])}"
        ),
    }
    return said[first["word"]]()


def seeds_said(more: int | None) -> str:
    if more is None:
        return "No number of seeds that one could train would decide, if mean and spread stay as they are."
    return f"About {more} more seed{'s' if more > 1 else ''} would decide, if mean and spread stay as they are."


def winning_said(comparisons: Sequence[Mapping[str, Any]], won: bool | None, design: Design) -> str:
    sparsity = design.sparsities[0]
    controls = {
        c["against"]: c["word"]
        for c in comparisons
        if c["arm"] == "ticket" and c["against"] in CONTROLS and c["sparsity"] == sparsity
    }
    if won is None:
        missing = " and ".join(name for name in CONTROLS if not controls.get(name))
        return (
            f"Whether it is a winning ticket is not known: it has to beat {missing} as well, which cannot be compared."
        )
    if won:
        return (
            "It is a winning ticket: it also wins against random masks of the same per-layer sparsity and against its "
            "own mask on weights drawn anew."
        )
    if set(controls.values()) == {"wins"}:
        return (
            "It is not called a winning ticket: against both controls it wins, against the dense network it does not."
        )
    against = " and ".join(
        f"{'random masks' if name == 'random-mask' else 'its mask on weights drawn anew'} ({word})"
        for name, word in controls.items()
        if word != "wins"
    )
    return f"It is not called a winning ticket: it is not shown to beat {against}."


def time_said(
    comparisons: Sequence[Mapping[str, Any]], reach: Sequence[Mapping[str, Any]], design: Design
) -> list[str]:
    """The other half of the hypothesis: training time to equal accuracy."""
    sparsity, said = design.sparsities[0], []
    for found in comparisons:
        if found["measure"] == "early_stopping" and found["sparsity"] == sparsity and found["word"]:
            way = "earlier" if found["mean"] >= 0 else "later"
            said.append(
                f"Its validation loss is lowest {abs(found['mean']):.2f} epochs {way} than the dense network's "
                f"({interval(found)}, corrected: {found['word']})."
            )
    by = {(r["arm"], r["sparsity"]): r for r in reach}
    own, dense = by.get(("ticket", sparsity)), by.get(("dense", None))
    if own and dense:
        when = "" if own["median_epochs"] is None else f", in the median after {own['median_epochs']:.2f} epochs"
        said.append(
            f"It reached the dense network's final accuracy in {own['reached']} of {own['of']} seeds{when}; the dense "
            f"network itself first had it after {dense['median_epochs']:.2f}."
        )
    return said


def interval(found: Mapping[str, Any]) -> str:
    low, high = found["interval"]
    return f"{100 * found['confidence']:.4g} % interval {signed(low)} to {signed(high)}"
