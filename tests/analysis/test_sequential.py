"""Nominal levels of planned looks, against published constants and simulated Brownian motion."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri
from scipy.stats import norm

from lthrun.analysis.sequential import (
    ERROR,
    Look,
    nominal_levels,
    spend_as_pocock,
)


def spend_as_obrien_fleming(error: float, fraction: float) -> float:
    """The O'Brien-Fleming type of Lan & DeMets 1983, half of the error on each side: almost nothing at first."""
    return error if fraction >= 1 else float(4 * ndtr(ndtri(error / 4) / math.sqrt(fraction)))


def boundaries(levels: tuple[float, ...]) -> list[float]:
    return [float(norm.isf(level / 2)) for level in levels]


def test_obrien_fleming_type_with_five_equal_looks():
    """Two-sided 5 %; constants of Lan & DeMets' spending function as tabulated in Jennison & Turnbull 2000."""
    levels = nominal_levels((0.2, 0.4, 0.6, 0.8, 1.0), 0.05, spend_as_obrien_fleming)
    assert boundaries(levels) == pytest.approx([4.877, 3.357, 2.680, 2.290, 2.031], abs=5e-4)


def test_pocock_type_with_three_equal_looks():
    levels = nominal_levels((1 / 3, 2 / 3, 1.0), 0.05, spend_as_pocock)
    assert boundaries(levels) == pytest.approx([2.279, 2.295, 2.296], abs=5e-4)


@pytest.mark.parametrize("most", [1, 3, 5, 40, 1000])
def test_one_look_has_the_whole_error(most: int):
    look = Look(most, most)
    assert look.is_only and look.level() == ERROR and look.level(0.05 / 7) == 0.05 / 7


def test_brownian_motion_leaves_the_bounds_as_often_as_may_be_spent():
    """200,000 paths with looks at 5, 6, 10 and 20 of 20; the standard error of 5 % is 0.05 points."""
    numbers = [5, 6, 10, 20]
    levels = nominal_levels(tuple(n / 20 for n in numbers))
    steps = np.diff([0, *numbers])
    paths = np.random.default_rng(0).normal(0, np.sqrt(steps), (200_000, 4)).cumsum(1) / np.sqrt(numbers)
    is_out = np.abs(paths) > boundaries(levels)
    for k, n in enumerate(numbers):
        expected = spend_as_pocock(ERROR, n / 20)
        assert is_out[:, : k + 1].any(1).mean() == pytest.approx(expected, abs=4 * 0.0005)


@settings(max_examples=30, deadline=None)
@given(st.sets(st.integers(3, 60), min_size=1, max_size=8), st.floats(1e-4, 0.2))
def test_levels_lie_between_the_error_spent_and_the_whole(numbers: set[int], error: float):
    """A look's level is at least what it newly spends (it may also reject where others did) and at most all of it."""
    looks = sorted(numbers)
    levels = nominal_levels(tuple(n / looks[-1] for n in looks), error)
    before = 0.0
    for n, level in zip(looks, levels, strict=True):
        spent = spend_as_pocock(error, n / looks[-1])
        assert spent - before - 1e-9 <= level <= error + 1e-12
        before = spent


def test_earlier_looks_count_in_any_order():
    expected = nominal_levels((0.25, 0.5, 1.0))[-1]
    assert Look(20, 20, (10, 5)).level() == expected == Look(20, 20, (5, 10, 20)).level()
    assert Look(5, 20).next(10).next(20).level() == expected
    assert Look(5, 20, (10, 5)).level() == nominal_levels((0.25,))[-1], "later looks do not change an earlier one"


def test_beyond_the_declared_seeds_the_level_is_that_of_the_last_look():
    look = Look(30, 20, (5, 10))
    assert look.level() == Look(20, 20, (5, 10)).level() and not look.is_planned
    assert Look(10, 5, (5,)).level() == ERROR, "a study of one look keeps its ordinary interval"
