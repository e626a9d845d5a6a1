"""Rules and measures, against cases worked by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lthrun.analysis.arm_results import ArmResult
from lthrun.experiments.summaries import RunSummary
from lthrun.records import InterimEvaluation
from lthrun.reproductions.findings import Finding, Findings
from lthrun.reproductions.measures import accuracy_gain, mean_accuracy, stopped_accuracy, times_sooner
from lthrun.reproductions.null import error_rate, mean_difference
from lthrun.reproductions.reproduction import Rule
from tests.analysis.studies import make_epoch

TICKET, DENSE = ("ticket", 50.0), ("dense", None)
IMAGES = 1000


def make_result(arm: str, seed: int, losses: Sequence[float], accuracies: Sequence[float]) -> ArmResult:
    """One epoch, with an interim evaluation every 100 steps."""
    evaluations = [
        InterimEvaluation(100 * (k + 1), loss, accuracy)
        for k, (loss, accuracy) in enumerate(zip(losses, accuracies, strict=True))
    ]
    epoch = make_epoch(accuracies[-1], losses[-1], 100 * len(losses), interim_evaluations=evaluations)
    return ArmResult(arm, seed, 50.0 if arm == "ticket" else None, [epoch], 100 * len(losses), 100 * len(losses), 0.0)


def collect(*results: ArmResult) -> Findings:
    summary = RunSummary.model_construct(n_valid=IMAGES, n_test=0)
    run = cast(Any, None)
    found = {(result.arm, result.seed, result.sparsity): result for result in results}
    return Findings([Finding("study", run, summary)], found)


@pytest.mark.parametrize(
    ("rule", "interval", "answer"),
    [
        (Rule(low=0), (0.1, 0.5), "agrees"),
        (Rule(low=0), (-0.5, -0.1), "disagrees"),
        (Rule(low=0), (-0.1, 0.5), "not decided"),
        (Rule(low=0), (0.0, 0.5), "not decided"),
        (Rule(low=0.3), (0.1, 0.2), "disagrees"),
        (Rule(high=1), (0.7, 0.9), "agrees"),
        (Rule(high=1), (1.1, 1.2), "disagrees"),
        (Rule(-0.3, 0.3), (-0.2, 0.1), "agrees"),
        (Rule(-0.3, 0.3), (-0.5, 0.1), "not decided"),
        (Rule(-0.3, 0.3), (-0.5, -0.4), "disagrees"),
        (Rule(low=0), None, "not decided"),
    ],
)
def test_a_rule_answers_of_the_interval_alone(rule: Rule, interval: Any, answer: str):
    assert rule.answer(interval) == answer


@given(st.floats(-5, 5), st.floats(0.01, 5), st.floats(-5, 5))
def test_a_narrower_interval_never_turns_an_answer_around(center: float, half: float, bound: float):
    wide, narrow = (Rule(low=bound).answer((center - h, center + h)) for h in (half, half / 2))
    assert wide in (narrow, "not decided")


def test_a_rule_in_words():
    assert Rule(low=0).describe("points") == "above 0 points"
    assert Rule(high=1).describe("×") == "below 1 ×"
    assert Rule(-0.3, 0.3).describe("points") == "from −0.3 to 0.3 points"


def test_the_gain_in_accuracy_is_paired_and_has_the_t_interval():
    gains = [1.0, 2.0, 4.0]
    findings = collect(*(
        make_result(arm, seed, [0.5, 0.4], [0.5, 0.9 + (gain / 100 if arm == "ticket" else 0)])
        for seed, gain in enumerate(gains) for arm in ("ticket", "dense")
    ))  # fmt: skip
    found = accuracy_gain(TICKET, DENSE)(findings)
    low, high = stats.t.interval(0.95, 2, np.mean(gains), stats.sem(gains))
    assert found is not None and found.n == 3 and found.value == pytest.approx(7 / 3)
    assert found.interval == pytest.approx((low, high))
    mean = mean_accuracy(DENSE)(findings)
    assert mean is not None and mean.value == pytest.approx(90)


def test_accuracy_at_early_stopping_is_that_of_the_lowest_validation_loss():
    findings = collect(make_result("ticket", 0, [0.5, 0.2, 0.3], [0.5, 0.8, 0.9]))
    found = mean_accuracy(TICKET, stopped_accuracy)(findings)
    assert found is not None and found.value == pytest.approx(80) and found.interval is None


def test_times_sooner_is_the_geometric_mean_of_ratios_of_steps():
    """The ticket's loss is lowest at steps 100, 100, 200, the dense network's at 200, 400, 400: 2, 4 and 2 ×."""
    lowest = {"ticket": [1, 1, 2], "dense": [2, 4, 4]}
    findings = collect(*(
        make_result(arm, seed, [0.1 if k == at else 0.5 for k in range(1, 6)], [0.9] * 5)
        for arm, steps in lowest.items() for seed, at in enumerate(steps)
    ))  # fmt: skip
    found = times_sooner(TICKET, DENSE)(findings)
    logs = np.log([2, 4, 2])
    low, high = stats.t.interval(0.95, 2, logs.mean(), stats.sem(logs))
    assert found is not None and found.value == pytest.approx(16 ** (1 / 3))
    assert found.interval == pytest.approx((math.exp(low), math.exp(high)))


def test_seeds_without_both_arms_are_left_out_and_without_any_there_is_no_figure():
    findings = collect(make_result("ticket", 0, [0.5], [0.5]), make_result("dense", 1, [0.5], [0.5]))
    assert accuracy_gain(TICKET, DENSE)(findings) is None
    assert times_sooner(TICKET, DENSE)(findings) is None


def draw_dense(seed: int, count: int = 80) -> Findings:
    accuracies = np.random.default_rng(seed).normal(0.98, 0.001, count)
    return collect(*(make_result("dense", k, [0.5], [accuracy]) for k, accuracy in enumerate(accuracies)))


def test_the_negative_control_errs_at_the_promised_rate_where_accuracies_are_normal():
    rates = [error_rate(5)(draw_dense(seed)) for seed in range(3)]
    assert all(rate is not None and 3.5 < rate.value < 6.5 for rate in rates)
    difference = mean_difference(draw_dense(0))
    assert difference is not None and difference.n == 40 and abs(difference.value) < 0.1


def test_the_negative_control_needs_two_networks_for_each_seed():
    assert error_rate(5)(draw_dense(0, 9)) is None
