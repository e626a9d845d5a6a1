"""The figures that claims are about: means over seeds, with their 95 % t intervals.

Arms of one seed share images, initialization and data order, so differences and ratios are paired.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean

from lthrun.analysis.arm_results import ArmResult
from lthrun.analysis.intervals import CONFIDENCE
from lthrun.analysis.seed_means import FEWEST_SEEDS, estimate
from lthrun.reproductions.findings import Findings, Spot
from lthrun.reproductions.reproduction import Measurement

Measure = Callable[[Findings], Measurement | None]


def average(values: Sequence[float], step: float) -> Measurement | None:
    """The mean over seeds of a figure that moves in steps; None without a value."""
    if not values:
        return None
    interval = estimate(values, step).interval(CONFIDENCE) if len(values) >= FEWEST_SEEDS else None
    return Measurement(fmean(values), interval, len(values))


def final_accuracy(result: ArmResult) -> float:
    """After the last step, in percent: on the test images, or without any on the validation images."""
    return 100 * result.final_accuracy


def stopped_accuracy(result: ArmResult) -> float:
    """The same at the evaluation of lowest validation loss."""
    accuracy = result.early_stop_accuracy
    return 100 * (result.lowest.accuracy if accuracy is None else accuracy)


def mean_accuracy(spot: Spot, accuracy: Callable[[ArmResult], float] = final_accuracy) -> Measure:
    """Percent."""
    return lambda findings: average([accuracy(result) for result in findings.select(spot)], 100 / findings.n_final)


def accuracy_gain(one: Spot, other: Spot, accuracy: Callable[[ArmResult], float] = final_accuracy) -> Measure:
    """How much more accurate the first is, in points."""

    def measure(findings: Findings) -> Measurement | None:
        gains = [accuracy(result) - accuracy(rival) for result, rival in findings.pair(one, other)]
        return average(gains, 100 / findings.n_final)

    return measure


def times_sooner(one: Spot, other: Spot) -> Measure:
    """How many times sooner the validation loss of the first is lowest: the geometric mean of the ratios of steps."""

    def measure(findings: Findings) -> Measurement | None:
        pairs = [(result.lowest.step, rival.lowest.step) for result, rival in findings.pair(one, other)]
        if not pairs:
            return None
        spacing = findings.pair(one, other)[0][0].evaluations[0].step
        found = average([math.log(rival / own) for own, rival in pairs], spacing / fmean(own for own, _ in pairs))
        return found and to_ratio(found)

    return measure


def to_ratio(logarithm: Measurement) -> Measurement:
    value, interval, n = logarithm
    return Measurement(math.exp(value), interval and (math.exp(interval[0]), math.exp(interval[1])), n)
