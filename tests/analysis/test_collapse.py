"""Extreme seeds and the rate of collapse that is still possible."""

from __future__ import annotations

import pytest
from scipy.stats import binom

from lthrun.analysis.collapse import find_extremes, limit_rate
from lthrun.analysis.questions import Question
from lthrun.analysis.study_records import Extremes


def extremes(*differences: float, margin: float = 1.0) -> Extremes:
    seeds = tuple(range(10, 10 + len(differences)))
    return find_extremes(Question("ticket", "dense", "accuracy", 50.0, seeds, differences, margin, 0.1))


def test_without_a_collapse_five_seeds_allow_45_percent():
    assert limit_rate(0, 5) == pytest.approx(1 - 0.05 ** (1 / 5)) == pytest.approx(0.4507, abs=1e-4)
    row = extremes(0.3, -0.4, 0.1, 0.0, 0.2)
    assert (row.worst_seed, row.worst, row.beyond_margins) == (11, -0.4, [])
    assert row.collapse_rate_limit == limit_rate(0, 5)


@pytest.mark.parametrize(("events", "n"), [(0, 3), (1, 5), (4, 5), (2, 40)])
def test_at_the_limit_so_few_events_have_5_percent(events: int, n: int):
    assert binom.cdf(events, n, limit_rate(events, n)) == pytest.approx(0.05)


def test_all_seeds_may_collapse():
    assert limit_rate(3, 3) == 1


def test_seeds_beyond_five_margins_are_named_on_either_side():
    row = extremes(0.3, -30.0, 0.1, 7.0, -5.0)
    assert row.beyond_margins == [11, 13] and row.worst_seed == 11
    assert row.collapse_rate_limit == limit_rate(1, 5), "a difference above 0 is no collapse of this arm"


def test_without_a_margin_no_seed_is_extreme():
    row = extremes(0.3, -30.0, 0.1, margin=0.0)
    assert row.beyond_margins == [] and row.collapse_rate_limit is None and row.worst_seed == 11
