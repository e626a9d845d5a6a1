"""Intervals over validation images, against independent formulas."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from lthrun.analysis.intervals import balanced_accuracy_interval, measure_accuracy, wilson_interval


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_wilson_interval_is_scipys(counts: tuple[int, int]):
    expected = binomtest(*counts).proportion_ci(0.95, method="wilson")
    assert wilson_interval(*counts) == pytest.approx((expected.low, expected.high), abs=1e-15)


def test_accuracy_needs_no_scipy():
    """Importing scipy takes longer than evaluating a small model."""
    code = (
        "import sys; from lthrun.analysis.intervals import measure_accuracy; measure_accuracy([3, 4], [5, 5]); "
        "sys.exit('scipy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_mover_by_hand():
    """10 of 10 and 5 of 10. Wilson of 10 of 10 starts at n / (n + z²) = 0.722460; of 5 of 10 it is
    0.5 ± z / (2 √(n + z²)) = 0.5 ± 0.263405. The distances add up in squares, halved."""
    low, high = balanced_accuracy_interval([10, 5], [10, 10])
    assert low == pytest.approx(0.75 - math.sqrt((1 - 0.722460) ** 2 + 0.263405**2) / 2, abs=1e-5)
    assert high == pytest.approx(0.75 + 0.263405 / 2, abs=1e-5)


def test_with_one_class_it_is_the_wilson_interval():
    assert balanced_accuracy_interval([7], [9]) == pytest.approx(wilson_interval(7, 9))


def test_many_classes_of_equal_size_have_the_wilson_interval_of_all_images():
    expected = wilson_interval(4 + 5 + 3 + 5, 20)
    assert balanced_accuracy_interval([4, 5, 3, 5], [5, 5, 5, 5]) == pytest.approx(expected)


@given(st.lists(st.integers(1, 40).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=1, max_size=8))
def test_the_interval_has_a_width_and_contains_the_estimate(classes: list[tuple[int, int]]):
    correct, counts = zip(*classes, strict=True)
    measured = measure_accuracy(correct, counts)
    low, high = measured.balanced_accuracy_interval
    assert 0 <= low < high <= 1
    assert low - 1e-12 <= measured.balanced_accuracy <= high + 1e-12


def test_all_correct_is_not_certainty():
    low, high = balanced_accuracy_interval([10, 100], [10, 100])
    assert high == 1 and 0.8 < low < 0.9


COVERAGE = [
    ([476, 1002], [0.5, 0.8], 0.94, 0.96), ([476, 1002], [0.02, 0.98], 0.94, 0.96), ([50, 50], [0.95, 0.95], 0.92, 0.98),
    ([10, 10], [0.8, 0.8], 0.92, 0.98), ([40] * 37, [0.95] * 37, 0.94, 0.96), ([10] * 100, [0.99] * 100, 0.94, 0.96),
    ([10] * 10, [0.5 + 0.05 * k for k in range(10)], 0.94, 1.0),
]  # fmt: skip


@pytest.mark.parametrize(("counts", "recalls", "least", "most"), COVERAGE)
def test_the_interval_covers_the_truth(counts: list[int], recalls: list[float], least: float, most: float):
    """2,000 draws per case; the standard error of 95 % is 0.5 points."""
    drawn = np.random.default_rng(0).binomial(counts, recalls, (2000, len(counts))).tolist()
    truth = sum(recalls) / len(recalls)
    intervals = [balanced_accuracy_interval(correct, counts) for correct in drawn]
    covered = sum(low <= truth <= high for low, high in intervals) / len(intervals)
    assert least - 0.01 <= covered <= most + 0.01


def test_always_answering_dog_has_the_balanced_accuracy_of_chance():
    measured = measure_accuracy([0, 1002], [476, 1002])
    low, high = measured.balanced_accuracy_interval
    assert measured.accuracy == pytest.approx(0.678, abs=1e-3)
    assert measured.balanced_accuracy == 0.5 and 0.49 < low < 0.5 < high < 0.51


def test_one_image_of_a_class_is_enough():
    assert measure_accuracy([1, 3], [1, 4]).balanced_accuracy == pytest.approx(0.875)
