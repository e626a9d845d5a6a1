"""Epochs to the dense network's accuracy."""

from __future__ import annotations

import numpy as np
import pytest

from lthrun.analysis.arm_results import ArmResult, ResultTable
from lthrun.analysis.training_time import measure_reach
from lthrun.records import InterimEvaluation
from tests.analysis.studies import make_design, make_epoch


def train(arm: str, seed: int, accuracies: list[float]) -> ArmResult:
    """Ten steps per epoch, evaluated after every second."""
    interim = [InterimEvaluation(2 * (k + 1), 0.5, accuracy) for k, accuracy in enumerate(accuracies)]
    epoch = make_epoch(accuracies[-1], 0.5, 2 * len(accuracies), interim_evaluations=interim)
    return ArmResult(arm, seed, None if arm == "dense" else 50.0, [epoch], 2 * len(accuracies), 10, 0.0)


def reach(tickets: list[list[float]]) -> tuple[int, int, float | None]:
    seeds = range(len(tickets))
    results = [train("dense", seed, [0.5, 0.6, 0.7]) for seed in seeds]
    results += [train("ticket", seed, accuracies) for seed, accuracies in enumerate(tickets)]
    rows = measure_reach(ResultTable(results, seeds), make_design(len(tickets)))
    (row,) = [row for row in rows if row.arm == "ticket"]
    return row.reached, row.total, row.median_epochs


def test_a_seed_that_never_reaches_it_counts_as_later_than_the_end():
    soon, late, never = [0.7, 0.7, 0.7], [0.5, 0.6, 0.7], [0.5, 0.6, 0.6]
    assert reach([soon, late, never]) == (2, 3, 0.6)
    assert reach([soon, late, late, never]) == (3, 4, 0.6)
    assert reach([soon, never, never]) == (1, 3, None)
    assert reach([soon, never]) == (1, 2, None), "the mean of a time and one later than the end"


def test_two_identical_arms_have_the_same_median():
    """Both are compared with a third network; leaving out failures would make the more frequent failure look faster."""
    rng = np.random.default_rng(0)
    times = []
    for spread in (0.02, 0.02):
        curves = 0.7 - 0.3 * np.exp(-np.arange(1, 21) / 6) + rng.normal(0, spread, (400, 20))
        times.append(reach(curves.tolist())[2])
    assert times[0] == pytest.approx(times[1], abs=0.4)
