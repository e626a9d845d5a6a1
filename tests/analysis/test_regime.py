"""The regime check, from records made by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from lthrun.analysis.arm_results import ArmResult, ResultTable
from lthrun.analysis.regime import check_regime, measure_late_rise
from lthrun.records import InterimEvaluation
from tests.analysis.studies import make_design, make_epoch

FLAT = [0.5, 0.7, 0.7, 0.7, 0.7]
LOSSES = [0.6, 0.5, 0.5, 0.5, 0.5]


def train(
    arm: str, seed: int, accuracies: Sequence[float], losses: Sequence[float], train_loss: float = 0.3
) -> ArmResult:
    """One epoch of ten steps per accuracy."""
    epochs = [
        make_epoch(accuracy + 0.001 * seed * (k > 0), loss, 10 * (k + 1), train_loss=train_loss)
        for k, (accuracy, loss) in enumerate(zip(accuracies, losses, strict=True))
    ]
    return ArmResult(arm, seed, None if arm == "dense" else 50.0, epochs, 10 * len(epochs), 10, 0.0)


def check(results: Sequence[ArmResult]) -> list[str]:
    return check_regime(ResultTable(results, range(3)), make_design())


def test_nothing_is_said_of_a_sound_regime():
    dense = [train("dense", seed, FLAT, LOSSES) for seed in range(3)]
    masks = [train("random-mask", seed, [0.3, 0.4, 0.4, 0.4, 0.4], LOSSES) for seed in range(3)]
    assert check(dense + masks) == check(dense) == check([]) == []


def test_overfitted():
    """Training loss 0.11, a validation loss that ends 20 % above its minimum at 0.6: less than a fifth of it."""
    rising = [0.6, 0.5, 0.5, 0.55, 0.6]
    (sentence,) = check([train("dense", seed, FLAT, rising, 0.11) for seed in range(3)])
    assert sentence.startswith("Overfitted: in 3 of 3 seeds") and "20 % above its minimum" in sentence
    assert check([train("dense", seed, FLAT, rising, 0.13) for seed in range(3)]) == []
    one = [train("dense", seed, FLAT, rising, 0.11 if seed else 0.13) for seed in range(3)]
    assert "in 2 of 3 seeds" in check(one)[0]


def test_at_the_majority_rate():
    """Of 1,000 images: 0.66 is the rate, and the interval of 0.68 begins at 0.65, that of 0.70 at 0.67."""
    (sentence,) = check([train("dense", seed, [0.5, 0.68, 0.68, 0.68, 0.68], LOSSES) for seed in range(3)])
    assert sentence.startswith("At the majority rate: in 3 of 3 seeds")
    assert check([train("dense", seed, FLAT, LOSSES) for seed in range(3)]) == []


def test_undertrained():
    """Rises of 5.0, 5.1 and 5.2 points over the last of five epochs."""
    dense = [train("dense", seed, [0.5, 0.6, 0.62, 0.65, 0.70 + 0.001 * seed], LOSSES) for seed in range(3)]
    (sentence,) = check(dense)
    assert sentence.startswith("Undertrained:") and "rises by 5.10 points" in sentence and "last 20 %" in sentence
    assert check([train("dense", seed, [0.5, 0.6, 0.7], LOSSES[:3]) for seed in range(3)]) == [], "too few evaluations"


def test_the_last_tenth_is_measured_from_interim_evaluations():
    interim = [InterimEvaluation(step, 0.5, 0.5 + step / 1000) for step in range(5, 101, 5)]
    epoch = make_epoch(0.9, 0.5, 100, interim_evaluations=interim)
    rise, part = measure_late_rise(ArmResult("dense", 0, None, [epoch], 100, 100, 0.0))
    assert rise == pytest.approx(0.01) and part == pytest.approx(0.1)
    assert measure_late_rise(ArmResult("dense", 0, None, [make_epoch(0.9, 0.5, 10)], 10, 10, 0.0)) is None


def test_no_arm_can_fail_where_random_masks_match():
    results = [train(arm, seed, FLAT, LOSSES) for seed in range(3) for arm in ("dense", "random-mask")]
    (sentence,) = check(results)
    assert sentence.startswith("No arm can fail here: at 50 % random masks match the dense network")
