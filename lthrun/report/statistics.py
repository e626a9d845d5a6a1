"""Intervals. A result is never one number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

CONFIDENCE = 0.95
RESAMPLES = 10_000


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


def judge(correct: Sequence[int], counts: Sequence[int]) -> dict[str, Any]:
    """Accuracy and balanced accuracy (0 to 1) from the right answers per class, with their intervals."""
    return {
        "accuracy": accuracy(correct, counts),
        "accuracy_interval": wilson(sum(correct), sum(counts)),
        "balanced_accuracy": balanced_accuracy(correct, counts),
        "balanced_accuracy_interval": balanced_interval(correct, counts),
    }
