"""Accuracy and its uncertainty over validation images.

A result is never one number. These intervals cover the sampling of validation images. The variation between seeds is
covered by the intervals of verdict.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lthrun.records import Interval, Measured

CONFIDENCE = 0.95
Z = 1.959963984540054  # quantile of the normal distribution at (1 + CONFIDENCE) / 2
RESAMPLES = 10_000
STABLE = 0.02  # the error barrier below which a network counts as stable (Frankle et al. 2020, section 3)


def accuracy(correct: Sequence[int], counts: Sequence[int]) -> float:
    """Share of the images classified correctly, from the counts per class."""
    return sum(correct) / sum(counts)


def balanced_accuracy(correct: Sequence[int], counts: Sequence[int]) -> float:
    """Mean of the recalls of the classes."""
    return sum(c / n for c, n in zip(correct, counts, strict=True)) / len(counts)


def measure_accuracy(correct: Sequence[int], counts: Sequence[int]) -> Measured:
    """Accuracy and balanced accuracy (0 to 1) with their intervals, from correct answers and images per class."""
    return Measured(
        accuracy=accuracy(correct, counts),
        accuracy_interval=wilson_interval(sum(correct), sum(counts)),
        balanced_accuracy=balanced_accuracy(correct, counts),
        balanced_accuracy_interval=balanced_accuracy_interval(correct, counts),
    )


def wilson_interval(correct: int, n: int) -> Interval:
    """The 95 % score interval of a share (Wilson 1927)."""
    share, denominator = correct / n, 2 * (n + Z**2)
    center = (2 * n * share + Z**2) / denominator
    half = Z / denominator * math.sqrt(4 * n * share * (1 - share) + Z**2)
    return (center - half if correct else 0.0, center + half if correct < n else 1.0)


def balanced_accuracy_interval(correct: Sequence[int], counts: Sequence[int]) -> Interval:
    """The 95 % percentile bootstrap interval of balanced accuracy, each class resampled separately.

    Resampling n answers of which c are correct is a draw from Binomial(n, c / n), so no list of answers is needed.
    The random draws are fixed: the same input gives the same interval.
    """
    rng = np.random.default_rng(0)
    recalls = [rng.binomial(n, c / n, RESAMPLES) / n for c, n in zip(correct, counts, strict=True)]
    return percentile_interval(np.mean(recalls, axis=0))


def barrier(errors: Sequence[float]) -> float:
    """The error barrier on a path: its highest error minus the mean of the errors at its ends.

    sup_α E(α) − (E(0) + E(1)) / 2, of Frankle et al. 2020, section 2 ("linear interpolation instability").
    """
    return max(errors) - (errors[0] + errors[-1]) / 2


def barrier_interval(wrong: Sequence[Sequence[bool]]) -> Interval:
    """The 95 % percentile bootstrap interval of the barrier on a path.

    `wrong[k][i]` says whether network k of the path misclassifies image i. All networks share the resampled images. The
    position of the highest error is held fixed: the maximum over resampled paths grows with the noise, so its interval
    would miss a barrier of zero. An image contributes one of five values to n times the barrier, so one resample is one
    multinomial draw. A barrier is never negative, and neither is its interval. The random draws are fixed.
    """
    answers = np.asarray(wrong, float)
    contributions = answers[answers.mean(1).argmax()] - (answers[0] + answers[-1]) / 2
    values, counts = np.unique(contributions, return_counts=True)
    n = len(contributions)
    drawn = np.random.default_rng(0).multinomial(n, counts / n, RESAMPLES)
    low, high = percentile_interval(drawn @ values / n)
    return max(0.0, low), max(0.0, high)


def percentile_interval(resampled: np.ndarray) -> Interval:
    low, high = np.quantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
