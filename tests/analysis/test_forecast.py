"""Forecasts and power, against simulated studies and Student's t."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lthrun.analysis.forecast import chance_of_verdict, forecast_seeds
from lthrun.analysis.seed_means import Estimate, estimate
from lthrun.analysis.sequential import Look
from lthrun.analysis.verdict import choose_word
from tests.analysis.power import chance_of_words

FIVE = Estimate(5, 0.1, 1.29)


@pytest.mark.parametrize(("difference", "n", "margin"), [(0.0, 5, 1.0), (0.0, 19, 1.0), (-1.0, 12, 2.0), (1.5, 8, 0.0)])
def test_the_chances_of_the_words_are_their_frequencies(difference: float, n: int, margin: float):
    """4,000 simulated studies; the standard error of a frequency is at most 0.8 points."""
    rng = np.random.default_rng(0)
    samples = rng.normal(difference, 1.29, (4000, n)).tolist()
    words = [choose_word(estimate(sample, 1e-9).interval(0.95), margin) for sample in samples]
    row = chance_of_words(difference, 1.29, n, margin)
    for word in ("wins", "matches", "loses", "undecided"):
        assert getattr(row, word) == pytest.approx(words.count(word) / 4000, abs=0.03)
    assert row.wins + row.matches + row.loses + row.undecided == pytest.approx(1)


def test_power_is_that_of_the_t_test():
    """Without a margin "wins" has the power of the upper tail, from the noncentral t distribution."""
    row = chance_of_words(1.0, 1.29, 10, 0.0)
    critical, shift = stats.t.isf(0.025, 9), np.sqrt(10) / 1.29
    assert row.wins == pytest.approx(stats.nct.sf(critical, 9, shift), abs=1e-4)
    assert row.loses == pytest.approx(stats.nct.cdf(-critical, 9, shift), abs=1e-4)
    assert row.matches == 0


def test_five_seeds_decide_little_and_nineteen_decide_most():
    five, nineteen = (chance_of_words(0.0, 1.29, n, 1.0) for n in (5, 19))
    assert five.undecided == pytest.approx(0.9, abs=0.01) and nineteen.undecided < 0.2


@pytest.mark.parametrize(("kept", "more", "confidence"), [(5, 7, 0.97), (0, 20, 0.95), (5, 1, 0.95)])
def test_the_predictive_chance_is_that_of_simulated_seeds(kept: int, more: int, confidence: float):
    """Deviation and mean are drawn from their posterior, then every further seed by itself; 2,000 draws."""
    rng = np.random.default_rng(1)
    observed = [1.9, 0.2, -0.4, 0.9, -1.1]
    posterior = estimate(observed, 1e-9)
    decided = 0
    for _ in range(2000):
        deviation = posterior.deviation * np.sqrt(4 / rng.chisquare(4))
        mean = rng.normal(posterior.mean, deviation / np.sqrt(5))
        sample = observed[:kept] + rng.normal(mean, deviation, more).tolist()
        decided += choose_word(estimate(sample, 1e-9).interval(confidence), 1.0) != "undecided"
    assert chance_of_verdict(posterior, kept, more, confidence, 1.0) == pytest.approx(decided / 2000, abs=0.05)


def test_no_look_is_offered_that_was_not_planned():
    forecast = forecast_seeds(FIVE, 1.0, Look(5, 5))
    assert forecast.is_fresh and forecast.chance_at_most is None
    assert 5 < forecast.lower < forecast.seeds < forecast.upper
    assert chance_of_verdict(FIVE, 0, forecast.seeds, 0.95, 1.0) >= 0.8
    assert chance_of_verdict(FIVE, 0, forecast.seeds - 1, 0.95, 1.0) < 0.8
    assert forecast_seeds(FIVE, 1.0, Look(12, 5, (5,))).is_fresh


def test_further_seeds_of_a_study_are_counted_up_to_those_declared():
    planned, short = (forecast_seeds(FIVE, 1.0, Look(5, most)) for most in (100, 12))
    assert not planned.is_fresh and 5 < planned.lower < planned.seeds < planned.upper <= 100
    assert planned.chance_at_most > 0.9
    assert short.seeds is None and 0 < short.chance_at_most < 0.8


def test_the_forecast_is_less_optimistic_than_taking_the_estimates_for_the_truth():
    from lthrun.analysis.forecast import find_first

    certain = find_first(range(3, 1000), lambda n: 1 - chance_of_words(0.1, 1.29, n, 1.0).undecided, 0.8)
    assert forecast_seeds(FIVE, 1.0, Look(5, 5)).seeds > certain


def test_a_difference_at_the_margin_may_take_more_seeds_than_anybody_trains():
    assert forecast_seeds(Estimate(50, -1.0, 0.001), 1.0, Look(50, 50)).seeds is not None, "it loses plainly"
    assert forecast_seeds(Estimate(1000, 0.0, 50.0), 0.0, Look(1000, 1000)).seeds is None
