"""Accuracy and its uncertainty over validation images.

A result is never one number. These intervals cover the sampling of validation images. The variation between seeds is
covered by the intervals of verdict.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from lthrun.records import Interval, Measured

CONFIDENCE = 0.95
Z = 1.959963984540054  # quantile of the normal distribution at (1 + CONFIDENCE) / 2
FEW_CLASSES = 3
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
    low, high = score_interval(correct / n, n)
    return low if correct else 0.0, high if correct < n else 1.0


def score_interval(share: float, n: float) -> Interval:
    denominator = 2 * (n + Z**2)
    center = (2 * n * share + Z**2) / denominator
    half = Z / denominator * math.sqrt(4 * n * share * (1 - share) + Z**2)
    return center - half, center + half


def balanced_accuracy_interval(correct: Sequence[int], counts: Sequence[int]) -> Interval:
    """The 95 % interval of the mean recall. It never has width zero.

    For two or three classes the Wilson intervals of the recalls are combined: the distances of their ends from the
    estimates add up in squares (MOVER, Zou & Donner 2008). With many classes these distances are too short where
    recalls are near 1 (coverage down to 83 % in simulations). There the mean recall has the Wilson interval of a share
    of n images, with n = classes² / Σ 1 / nᵢ, so that the variance is right for equal recalls and too large for unequal
    ones.
    """
    k, mean = len(counts), balanced_accuracy(correct, counts)
    if k > FEW_CLASSES:
        low, high = score_interval(mean, k**2 / sum(1 / n for n in counts))
        return max(0.0, low), min(1.0, high)
    shares = [c / n for c, n in zip(correct, counts, strict=True)]
    intervals = [wilson_interval(c, n) for c, n in zip(correct, counts, strict=True)]
    below = math.hypot(*(share - low for share, (low, _) in zip(shares, intervals, strict=True))) / k
    above = math.hypot(*(high - share for share, (_, high) in zip(shares, intervals, strict=True))) / k
    return max(0.0, mean - below), min(1.0, mean + above)


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
    import numpy as np

    answers = np.asarray(wrong, float)
    contributions = answers[answers.mean(1).argmax()] - (answers[0] + answers[-1]) / 2
    values, counts = np.unique(contributions, return_counts=True)
    n = len(contributions)
    drawn = np.random.default_rng(0).multinomial(n, counts / n, RESAMPLES)
    low, high = np.quantile(drawn @ values / n, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return max(0.0, float(low)), max(0.0, float(high))
