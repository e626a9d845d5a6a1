"""What the analysis of a study starts from: the results of its arms, and the design that was fixed beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from lthrun.analysis.sequential import Look
from lthrun.records import EpochRecord, InterimEvaluation, LevelTest

MAJORITY = "majority rate"
"""Stands for an arm that always answers the most common class."""


@dataclass(frozen=True)
class ArmResult:
    """The result of an arm for one seed, at a sparsity in percent (None: at all of them).

    Attributes:
        epochs: records of its last training.
        steps: of that training; 0 where nothing is trained.
        search_steps: of that training and of everything before it.
        measured_sparsity: percent of the weights that are zero, counted.
        test: on the test images; None where there are none.
    """

    arm: str
    seed: int
    sparsity: float | None
    epochs: Sequence[EpochRecord]
    steps: int
    search_steps: int
    measured_sparsity: float
    test: LevelTest | None = None

    @property
    def last(self) -> EpochRecord:
        return self.epochs[-1]

    @property
    def final_accuracy(self) -> float:
        """After the last epoch, on the test images; without any, on the validation images. 0 to 1."""
        return self.test.last.accuracy if self.test else self.last.accuracy

    @property
    def final_balanced_accuracy(self) -> float:
        return self.test.last.balanced_accuracy if self.test else self.last.balanced_accuracy

    @property
    def early_stop_accuracy(self) -> float | None:
        """On the test images, of the network at `lowest`; None without test images or interim evaluations. 0 to 1."""
        return self.test.early_stop.accuracy if self.test and self.test.early_stop else None

    @cached_property
    def evaluations(self) -> list[InterimEvaluation]:
        """All interim evaluations of the last training, or without any those at the ends of its epochs."""
        interim = [evaluation for epoch in self.epochs for evaluation in epoch.interim_evaluations]
        return interim or [InterimEvaluation(epoch.step, epoch.valid_loss, epoch.accuracy) for epoch in self.epochs]

    @cached_property
    def lowest(self) -> InterimEvaluation:
        """The evaluation of lowest loss (Frankle & Carbin 2019, section 2: the early-stopping iteration)."""
        return min(self.evaluations, key=lambda evaluation: evaluation.loss)

    def first_step_with(self, accuracy: float) -> int | None:
        """The step of the first evaluation with at least this accuracy; None without one."""
        return next((evaluation.step for evaluation in self.evaluations if evaluation.accuracy >= accuracy), None)


@dataclass(frozen=True)
class Design:
    """What was fixed before anything was trained.

    Attributes:
        pairings: by arm, the pair of arms that its question compares: ("ticket", "random-mask") or ("prune", "dense").
        margin: up to how many points of accuracy two arms match.
        epoch_steps: training steps per epoch.
        evaluation_epochs: epochs between two evaluations.
        majority_rates: by seed, the accuracy of always answering the most common class, 0 to 1.
        n_valid, n_test: number of validation and test images.
        most_seeds: the most seeds that were declared when the study began; None: those it has, so one look.
        earlier_looks: numbers of seeds at which it was answered before.
        has_split_per_seed: whether each seed has a split of its own.
        primary_sparsity: that of the primary question; None: the first.
    """

    seeds: Sequence[int]
    sparsities: Sequence[float]
    pairings: Mapping[str, tuple[str, str]]
    margin: float
    epoch_steps: int
    evaluation_epochs: float
    majority_rates: Mapping[int, float]
    n_valid: int
    n_test: int = 0
    most_seeds: int | None = None
    earlier_looks: Sequence[int] = ()
    has_split_per_seed: bool = False
    primary_sparsity: float | None = None

    @property
    def primary(self) -> float:
        """The sparsity of the primary question."""
        return self.primary_sparsity or self.sparsities[0]

    @property
    def n_final(self) -> int:
        """How many images final accuracies are of."""
        return self.n_test or self.n_valid

    @property
    def final_images(self) -> str:
        """`n = 1,478 test images`"""
        return f"n = {self.n_final:,} {'test' if self.n_test else 'validation'} images"

    @property
    def look(self) -> Look:
        seeds = len(self.seeds)
        return Look(seeds, self.most_seeds or seeds, tuple(self.earlier_looks))


class ResultTable:
    """Results by arm, seed and sparsity. A result at all sparsities (None) stands for each."""

    def __init__(self, results: Sequence[ArmResult], seeds: Sequence[int]):
        self._results = {(result.arm, result.seed, result.sparsity): result for result in results}
        self._seeds = seeds

    def get(self, arm: str, seed: int, sparsity: float) -> ArmResult | None:
        return self._results.get((arm, seed, sparsity)) or self._results.get((arm, seed, None))

    def is_dense(self, arm: str) -> bool:
        """Whether each of its results is at all sparsities."""
        return any((arm, seed, None) in self._results for seed in self._seeds)

    def select(self, arm: str, sparsity: float) -> list[ArmResult]:
        """The results of an arm, in the order of the seeds."""
        return [result for seed in self._seeds if (result := self.get(arm, seed, sparsity))]

    def pair(self, arm: str, against: str, sparsity: float) -> list[tuple[ArmResult, ArmResult]]:
        """The results of two arms for those seeds that have both."""
        pairs = ((self.get(arm, seed, sparsity), self.get(against, seed, sparsity)) for seed in self._seeds)
        return [(one, other) for one, other in pairs if one and other]
