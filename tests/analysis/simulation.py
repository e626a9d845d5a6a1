"""How often the verdict errs, and how many seeds it takes, in simulated studies whose truth is known.

A study draws one difference per seed and is answered at its looks until it has a word. All studies of a case are
simulated at once. `make check-verdict` prints the tables of docs/protocol.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lthrun.analysis.forecast import forecast_seeds
from lthrun.analysis.power import Rates, simulate_studies
from lthrun.analysis.seed_means import estimate
from lthrun.analysis.sequential import ERROR, Look
from lthrun.analysis.verdict import choose_word
from tests.analysis.power import chance_of_words

MARGIN = 1.0
BEYOND_MARGIN = -1.001
"""A true difference just beyond the margin, so that every "matches" is false."""
COLLAPSE_RATE, COLLAPSE = 0.05, -30.0


@dataclass(frozen=True)
class Practice:
    """At how many seeds a study is answered until it has a word; unplanned looks have 95 % intervals each."""

    name: str
    seeds: tuple[int, ...]
    is_planned: bool = True

    @property
    def levels(self) -> list[float]:
        if not self.is_planned:
            return [ERROR] * len(self.seeds)
        return [Look(n, self.seeds[-1], self.seeds[:i]).level() for i, n in enumerate(self.seeds)]


PRACTICES = (
    Practice("one look at 20 seeds", (20,)),
    Practice("planned looks at 5, 10, 20", (5, 10, 20)),
    Practice("planned looks from 5 to 40", tuple(range(5, 41))),
    Practice("unplanned looks at 5, 10, 20", (5, 10, 20), is_planned=False),
    Practice("unplanned looks from 5 to 40", tuple(range(5, 41)), is_planned=False),
)


@dataclass(frozen=True)
class Distribution:
    """Differences of mean 0 and deviation 1, drawn in a shape [studies, seeds], and the step in which they move."""

    name: str
    draw: Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
    step: float = 1e-9


ROUNDED = 1 / np.sqrt(1 + 1 / 12)  # a unit, over the deviation of normal values rounded to it
NORMAL = Distribution("normal", lambda rng, shape: rng.standard_normal(shape))
DISTRIBUTIONS = (
    NORMAL,
    Distribution("t(3)", lambda rng, shape: rng.standard_t(3, shape) / np.sqrt(3)),
    Distribution("discrete", lambda rng, shape: ROUNDED * np.round(rng.standard_normal(shape)), ROUNDED),
    Distribution("skewed", lambda rng, shape: 1 - rng.standard_exponential(shape)),
)


def simulate(practice: Practice, differences: np.ndarray, step: float = 1e-9) -> Rates:
    """The rates over studies; `differences` has one study per row, with one value per seed."""
    return simulate_studies(practice.seeds, practice.levels, differences, MARGIN, step)


def simulate_differences(
    practice: Practice, distribution: Distribution, deviation: float, truths: tuple[float, ...], studies: int, seed: int
) -> list[Rates]:
    """The rates at each true difference, on the same draws."""
    draws = deviation * distribution.draw(np.random.default_rng(seed), (studies, practice.seeds[-1]))
    return [simulate(practice, draws + truth, deviation * distribution.step) for truth in truths]


def simulate_collapse(practice: Practice, deviation: float, studies: int, seed: int) -> Rates:
    """The rates where nothing differs but for a collapse by 30 points in 5 % of the seeds."""
    rng = np.random.default_rng(seed)
    shape = (studies, practice.seeds[-1])
    collapses = COLLAPSE * (rng.random(shape) < COLLAPSE_RATE)
    return simulate(practice, deviation * rng.standard_normal(shape) + collapses)


def check_forecast(truth: float, deviation: float, studies: int, seed: int) -> float:
    """The share of studies decided (0 to 1) by a fresh study of the size that undecided ones of five seeds forecast."""
    rng, chances = np.random.default_rng(seed), []
    for differences in rng.normal(truth, deviation, (studies, 5)).tolist():
        observed = estimate(differences, 1e-9)
        if choose_word(observed.interval(1 - ERROR), MARGIN) == "undecided":
            seeds = forecast_seeds(observed, MARGIN, Look(5, 5)).seeds
            chances.append(1 - chance_of_words(truth, deviation, seeds, MARGIN).undecided if seeds else 0.0)
    return float(np.mean(chances))
