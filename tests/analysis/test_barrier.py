"""The error barrier between two networks, and its interval."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lthrun.analysis.intervals import barrier, barrier_interval


@pytest.mark.parametrize(
    ("errors", "height"),
    [([0.2, 0.5, 0.3], 0.25), ([0.2, 0.2, 0.2], 0.0), ([0.1, 0.05, 0.3], 0.1), ([0.4, 0.1, 0.4], 0.0)],
)
def test_the_barrier_is_the_highest_error_minus_the_mean_of_the_ends(errors: list[float], height: float):
    assert barrier(errors) == pytest.approx(height)


def test_the_interval_is_that_of_a_paired_difference():
    draw = np.random.default_rng(3)
    shared = draw.random(2000)
    wrong = [(shared + 0.1 * draw.random(2000) < share).tolist() for share in (0.25, 0.3, 0.4, 0.35, 0.2)]
    each = [wrong[2][i] - (wrong[0][i] + wrong[4][i]) / 2 for i in range(2000)]
    mean = sum(each) / 2000
    error = math.sqrt(sum((d - mean) ** 2 for d in each)) / 2000
    assert barrier_interval(wrong) == pytest.approx([mean - 1.96 * error, mean + 1.96 * error], abs=0.001)
    assert barrier_interval(wrong) == barrier_interval(wrong)


def test_the_interval_covers_a_barrier_and_its_absence():
    """Of 60 drawn paths with a known barrier, most intervals must hold it, also where the path is flat."""
    draw, n, alphas = np.random.default_rng(5), 400, np.linspace(0, 1, 11)
    for height, fewest in ((0.0, 45), (0.1, 53)):
        limits = 0.25 + height * 4 * alphas * (1 - alphas)
        held = 0
        for _ in range(60):
            # Uniform for each network, and alike for neighbours: an image's answers change here and there.
            answers = np.where(draw.random((n, 11)) < 0.9, draw.random((n, 1)), draw.random((n, 11))) < limits
            low, high = barrier_interval(answers.T.tolist())
            held += low <= height <= high
        assert held >= fewest, height
