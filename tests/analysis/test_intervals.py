"""Intervals against their formulas."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lthrun.analysis.intervals import balanced_interval, judge, wilson


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_wilsons_formula(counts: tuple[int, int]):
    right, n = counts
    z, p = 1.959963984540054, right / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert wilson(right, n) == pytest.approx([middle - half, middle + half], abs=1e-9)


def test_the_bootstrap_interval_is_near_the_normal_one_where_that_holds():
    correct, counts = [300, 800], [476, 1002]
    shares = [c / n for c, n in zip(correct, counts, strict=True)]
    error = math.sqrt(sum(p * (1 - p) / n for p, n in zip(shares, counts, strict=True))) / 2
    wanted = [sum(shares) / 2 - 1.96 * error, sum(shares) / 2 + 1.96 * error]
    assert balanced_interval(correct, counts) == pytest.approx(wanted, abs=0.002)
    assert balanced_interval(correct, counts) == balanced_interval(correct, counts)


def test_always_answering_dog_is_seen_for_what_it_is():
    found = judge([0, 1002], [476, 1002])
    assert found["accuracy"] == pytest.approx(0.678, abs=1e-3)
    assert found["balanced_accuracy"] == 0.5 and found["balanced_accuracy_interval"] == [0.5, 0.5]


def test_one_image_of_a_class_is_enough():
    assert judge([1, 3], [1, 4])["balanced_accuracy"] == pytest.approx(0.875)
