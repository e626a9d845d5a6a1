"""Means over seeds with Student's t.

A measure moves in steps (one image, one evaluation), and a few seeds may agree to the step by chance. So the variance
of a sample is at least step² / 12, that of rounding to steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lthrun.analysis.intervals import CONFIDENCE
from lthrun.analysis.study_records import SeedMean
from lthrun.records import Interval

FEWEST_SEEDS = 3
"""An interval of two values says nothing."""


@dataclass(frozen=True)
class Estimate:
    """Mean and standard deviation of `n` values."""

    n: int
    mean: float
    deviation: float

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return self.deviation / math.sqrt(self.n)

    def interval(self, confidence: float) -> Interval:
        """Student's interval of the mean."""
        from scipy.special import stdtrit

        half = float(stdtrit(self.n - 1, (1 + confidence) / 2)) * self.error
        return self.mean - half, self.mean + half

    def p_difference(self) -> float:
        """The two-sided p value for a mean of 0: below 0.05 exactly where the 95 % interval excludes 0."""
        return 2 * self._tail(abs(self.mean))

    def p_match(self, margin: float) -> float:
        """Twice the larger p value of the two one-sided tests that the mean lies within ± margin (Schuirmann 1987).

        It is at most 0.05 exactly where the 95 % interval lies within ± margin.
        """
        return min(1.0, 2 * self._tail(margin - abs(self.mean)))

    def _tail(self, distance: float) -> float:
        from scipy.special import stdtr

        return float(stdtr(self.n - 1, -distance / self.error))


def estimate(values: Sequence[float], step: float) -> Estimate:
    n, mean = len(values), sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / (n - 1)
    return Estimate(n, mean, math.sqrt(max(variance, step**2 / 12)))


def average_seeds(values: Sequence[float], step: float) -> SeedMean:
    """The mean of shares (0 to 1) over the seeds with its 95 % t interval, cut to 0 to 1."""
    interval = None
    if len(values) >= FEWEST_SEEDS:
        low, high = estimate(values, step).interval(CONFIDENCE)
        interval = max(0.0, low), min(1.0, high)
    return SeedMean(mean=sum(values) / len(values), interval=interval, values=list(values))
