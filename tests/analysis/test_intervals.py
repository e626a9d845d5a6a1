"""Intervals over validation images, against independent formulas."""

from __future__ import annotations

import math
import subprocess
import sys

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


def test_the_bootstrap_interval_is_near_the_normal_one_where_that_holds():
    correct, counts = [300, 800], [476, 1002]
    shares = [c / n for c, n in zip(correct, counts, strict=True)]
    error = math.sqrt(sum(p * (1 - p) / n for p, n in zip(shares, counts, strict=True))) / 2
    expected = (sum(shares) / 2 - 1.96 * error, sum(shares) / 2 + 1.96 * error)
    assert balanced_accuracy_interval(correct, counts) == pytest.approx(expected, abs=0.002)
    assert balanced_accuracy_interval(correct, counts) == balanced_accuracy_interval(correct, counts)


def test_always_answering_dog_has_the_balanced_accuracy_of_chance():
    measured = measure_accuracy([0, 1002], [476, 1002])
    assert measured.accuracy == pytest.approx(0.678, abs=1e-3)
    assert measured.balanced_accuracy == 0.5 and measured.balanced_accuracy_interval == (0.5, 0.5)


def test_one_image_of_a_class_is_enough():
    assert measure_accuracy([1, 3], [1, 4]).balanced_accuracy == pytest.approx(0.875)
