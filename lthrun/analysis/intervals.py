"""Intervals. A result is never one number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

CONFIDENCE = 0.95
RESAMPLES = 10_000
STABLE = 0.02  # the error barrier below which a network counts as stable (Frankle et al. 2020, section 3)


def accuracy(correct: Sequence[int], counts: Sequence[int]) -> float:
    """Share of the images answered rightly."""
    return sum(correct) / sum(counts)


def balanced_accuracy(correct: Sequence[int], counts: Sequence[int]) -> float:
    """Mean over the classes of the share answered rightly."""
    return sum(c / n for c, n in zip(correct, counts, strict=True)) / len(counts)


def wilson(right: int, n: int) -> list[float]:
    """The 95 % score interval of a share (Wilson 1927)."""
    from scipy.stats import binomtest

    interval = binomtest(right, n).proportion_ci(CONFIDENCE, method="wilson")
    return [float(interval.low), float(interval.high)]


def balanced_interval(correct: Sequence[int], counts: Sequence[int]) -> list[float]:
    """The 95 % percentile bootstrap interval of balanced accuracy, each class resampled by itself.

    Resampling n answers of which c are right is drawing from Binomial(n, c / n), so no list of answers is needed.
    The same input gives the same interval.
    """
    draw = np.random.default_rng(0)
    recalls = [draw.binomial(n, c / n, RESAMPLES) / n for c, n in zip(correct, counts, strict=True)]
    low, high = np.quantile(np.mean(recalls, axis=0), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return [float(low), float(high)]


def barrier(errors: Sequence[float]) -> float:
    """The error barrier on a path: its highest error minus the mean of the errors at its ends.

    sup_α E(α) - (E(0) + E(1)) / 2, of Frankle et al. 2020, section 2 ("linear interpolation instability").
    """
    return max(errors) - (errors[0] + errors[-1]) / 2


def barrier_interval(wrong: Sequence[Sequence[bool]]) -> list[float]:
    """The 95 % percentile bootstrap interval of the barrier on a path, the images resampled, all networks on the same.

    `wrong[k][i]` says whether the k-th network of the path errs on image i. The place of the highest error is taken as
    given: a maximum over resampled paths grows with the noise, so that its interval would miss a barrier of zero. An
    image adds one of five values to n times the barrier, so that a resample is one multinomial draw. A barrier is
    never negative, and neither is its interval. The same input gives the same interval.
    """
    answers = np.asarray(wrong, float)
    each = answers[answers.mean(1).argmax()] - (answers[0] + answers[-1]) / 2
    values, counts = np.unique(each, return_counts=True)
    drawn = np.random.default_rng(0).multinomial(len(each), counts / len(each), RESAMPLES)
    low, high = np.quantile(drawn @ values / len(each), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return [max(0.0, float(low)), max(0.0, float(high))]


def judge(correct: Sequence[int], counts: Sequence[int]) -> dict[str, Any]:
    """Accuracy and balanced accuracy (0 to 1) from the right answers per class, with their intervals."""
    return {
        "accuracy": accuracy(correct, counts),
        "accuracy_interval": wilson(sum(correct), sum(counts)),
        "balanced_accuracy": balanced_accuracy(correct, counts),
        "balanced_accuracy_interval": balanced_interval(correct, counts),
    }
