"""How many seeds are needed: the chance that so many of them give a verdict.

An estimate of the number that takes mean and spread of a few seeds for the truth is optimistic. The predictive
distribution has them uncertain: with a flat prior on the mean and on the logarithm of the deviation, the variance is
(n - 1) s² / χ²(n - 1) and the mean is normal around the observed one (Box & Tiao 1973, section 2.4). Further seeds are
drawn from that; the chance of a verdict is the share of draws whose interval has a word.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from functools import cache

from lthrun.analysis.seed_means import FEWEST_SEEDS, Estimate
from lthrun.analysis.sequential import ERROR, Look
from lthrun.analysis.study_records import Forecast

MOST_SEEDS = 10_000
DRAWS = 4000
CHANCE, LOWER_CHANCE, UPPER_CHANCE = 0.8, 0.5, 0.9


def forecast_seeds(observed: Estimate, margin: float, look: Look, error: float = ERROR) -> Forecast:
    """The seeds that give a verdict with a chance of 80 %: of this study while more are planned, else of a fresh one.

    A further look of this study keeps its seeds; its level is what the looks so far leave. A fresh study starts with
    new seeds and looks once. `error` is the share of studies in which this question may err.
    """
    is_fresh = look.seeds >= look.most_seeds

    @cache
    def chance(seeds: int) -> float:
        if is_fresh:
            return chance_of_verdict(observed, 0, seeds, 1 - error, margin)
        level = look.next(seeds).level(error)
        return chance_of_verdict(observed, observed.n, seeds - look.seeds, 1 - level, margin)

    numbers = range(FEWEST_SEEDS, MOST_SEEDS + 1) if is_fresh else range(look.seeds + 1, look.most_seeds + 1)
    return Forecast(
        is_fresh=is_fresh,
        seeds=find_first(numbers, chance, CHANCE),
        lower=find_first(numbers, chance, LOWER_CHANCE),
        upper=find_first(numbers, chance, UPPER_CHANCE),
        chance_at_most=None if is_fresh else chance(look.most_seeds),
    )


def find_first(numbers: range, chance: Callable[[int], float], wanted: float) -> int | None:
    """The first number of a range whose chance is at least the wanted one, which rises but for the noise of draws."""
    place = bisect_left(numbers, wanted, key=chance)
    return numbers[place] if place < len(numbers) else None


def chance_of_verdict(observed: Estimate, kept: int, more: int, confidence: float, margin: float) -> float:
    """The predictive chance that `kept` observed seeds (all or none) and `more` further ones are decided.

    The random draws are fixed: the same input gives the same chance.
    """
    import numpy as np
    from scipy.special import stdtrit

    rng = np.random.default_rng(0)
    spread = observed.deviation * np.sqrt((observed.n - 1) / rng.chisquare(observed.n - 1, DRAWS))
    truth = observed.mean + spread / math.sqrt(observed.n) * rng.standard_normal(DRAWS)
    mean = truth + spread / math.sqrt(more) * rng.standard_normal(DRAWS)
    squares = spread**2 * (rng.chisquare(more - 1, DRAWS) if more > 1 else 0.0)
    n = kept + more
    if kept:
        squares += (kept - 1) * observed.deviation**2 + kept * more / n * (mean - observed.mean) ** 2
        mean = (kept * observed.mean + more * mean) / n
    half = float(stdtrit(n - 1, (1 + confidence) / 2)) * np.sqrt(squares / (n - 1) / n)
    is_decided = (np.abs(mean) > half) | (np.abs(mean) + half <= margin)
    return float(is_decided.mean())
