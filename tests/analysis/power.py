"""The power of the verdict: the chance of each word, where the truth is known. Simulations and tests compare with it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lthrun.analysis.intervals import CONFIDENCE


@dataclass(frozen=True)
class PowerRow:
    """The chances (0 to 1) of the four words with so many seeds, at a true difference and deviation of differences."""

    difference: float
    deviation: float
    seeds: int
    wins: float
    matches: float
    loses: float
    undecided: float


def chance_of_words(
    difference: float, deviation: float, n: int, margin: float, confidence: float = CONFIDENCE
) -> PowerRow:
    """The chance of each word with n seeds, for normal differences of a known mean and deviation.

    Given the sample deviation s, each word is an interval of the sample mean, whose probability is normal. Their mean
    over the distribution of s, χ(n - 1), is taken at 2,000 of its quantiles.
    """
    from scipy.special import chdtri, ndtr, stdtrit

    quantiles = (np.arange(2000) + 0.5) / 2000
    sample_deviation = deviation * np.sqrt(chdtri(n - 1, quantiles) / (n - 1))
    half = float(stdtrit(n - 1, (1 + confidence) / 2)) * sample_deviation / math.sqrt(n)

    def below(mean: np.ndarray) -> np.ndarray:
        return np.asarray(ndtr((mean - difference) / (deviation / math.sqrt(n))))

    wins, negative = 1 - below(half), below(-half)
    top = np.minimum(margin - half, half)  # above it the mean wins or leaves the margin
    matches = np.maximum(below(top) - below(half - margin), 0.0)
    loses = negative - np.maximum(negative - below(half - margin), 0.0)
    chances = [float(each.mean()) for each in (wins, matches, loses)]
    return PowerRow(
        difference=difference,
        deviation=deviation,
        seeds=n,
        wins=chances[0],
        matches=chances[1],
        loses=chances[2],
        undecided=1 - sum(chances),
    )
