"""The chance of a verdict before anything is trained: that of an independent formula, and the same each time."""

from __future__ import annotations

import time

import pytest

from lthrun.analysis.power import TRUTHS, foresee_words
from lthrun.analysis.sequential import Look
from tests.analysis.power import chance_of_words

ERROR = 3 * 0.5 / 4000**0.5  # three standard errors of a share of 4,000 studies


@pytest.mark.parametrize("deviation", [0.5, 1.3, 3.0])
@pytest.mark.parametrize("seeds", [3, 5, 20])
def test_one_look_has_the_chances_of_the_formula(seeds: int, deviation: float):
    rows = foresee_words([seeds], seeds, [deviation], 1.0)
    assert [row.difference for row in rows] == list(TRUTHS)
    for row in rows:
        exact = chance_of_words(row.difference, deviation, seeds, 1.0)
        for word in ("wins", "matches", "loses", "undecided"):
            assert getattr(row, word) == pytest.approx(getattr(exact, word), abs=ERROR)
        assert row.mean_seeds == seeds


def test_a_look_before_the_most_seeds_is_less_likely_to_decide():
    early, only = (foresee_words([5], most, [1.3], 1.0)[3] for most in (20, 5))
    exact = chance_of_words(2.0, 1.3, 5, 1.0, 1 - Look(5, 20).level())
    assert early.wins == pytest.approx(exact.wins, abs=ERROR) and early.wins < only.wins


def test_more_looks_decide_more_often_and_save_seeds_where_something_differs():
    rows = {row.difference: row for row in foresee_words([5, 10, 15, 20], 20, [1.3], 1.0)}
    assert all(row.wins + row.matches + row.loses + row.undecided == pytest.approx(1) for row in rows.values())
    assert rows[0].wins + rows[0].loses < 0.07 and rows[2].wins > 0.99
    assert rows[2].mean_seeds < rows[1].mean_seeds < 20


def test_the_chances_are_the_same_each_time_and_quick():
    foresee_words([5], 5, [1.3], 1.0)  # imports
    began = time.perf_counter()
    first = foresee_words(range(5, 41, 5), 40, [1.3, 3.0], 1.0)
    assert time.perf_counter() - began < 5, "under a second on a machine by itself"
    assert first == foresee_words(range(5, 41, 5), 40, [1.3, 3.0], 1.0)


def test_fewer_than_three_seeds_have_no_chances():
    assert foresee_words([2], 2, [1.3], 1.0) == []
    assert foresee_words([2, 4], 4, [1.3], 1.0)[0].mean_seeds == 4
