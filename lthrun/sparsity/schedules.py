"""Schedules: sparsity as a function of progress from 0 to 1.

A new schedule is one registered function. A ticket rewinds at every change of sparsity, so it needs a schedule that
moves in steps; the smooth ones are for `lthrun prune`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lthrun.config.pruning import ScheduleParams
from lthrun.registry import Entry, Table


@dataclass(frozen=True)
class ScheduleEntry(Entry):
    """A schedule of sparsity; a `stepped` one moves in steps, at which a ticket can rewind."""

    stepped: bool = False


SCHEDULES = Table("schedules", "pruning.schedule", ScheduleEntry)


def interpolate(params: ScheduleParams, share: float) -> float:
    return params.start + (params.end - params.start) * share


def steps_begun(progress: float, steps: int) -> int:
    """How many of `steps` equal steps have begun: 0 at 0, 1 right after it, all at 1."""
    # Rounded, because 7 / 25 * 25 is above 7 in floating point.
    return math.ceil(round(progress * steps, 9))


@SCHEDULES.register("All in one step.", stepped=True)
def one_shot(progress: float, params: ScheduleParams) -> float:
    return params.end if progress > 0 else params.start


@SCHEDULES.register("Equal steps: target · k / n (the fasterai tutorial).", stepped=True)
def iterative(progress: float, params: ScheduleParams) -> float:
    return params.start + (params.end - params.start) * steps_begun(progress, params.steps) / params.steps


@SCHEDULES.register(
    "The same share of the remaining weights in each step (Frankle & Carbin 2019, section 2: 20 %).", stepped=True
)
def geometric(progress: float, params: ScheduleParams) -> float:
    kept = (100 - params.end) / (100 - params.start)
    return 100 - (100 - params.start) * float(kept ** (steps_begun(progress, params.steps) / params.steps))


@SCHEDULES.register("The percentages listed in pruning.sparsities.", stepped=True)
def custom(progress: float, params: ScheduleParams) -> float:
    begun = steps_begun(progress, len(params.sparsities))
    return params.sparsities[begun - 1] if begun else params.start


@SCHEDULES.register("Automated gradual pruning: cubic, fast at first (Zhu & Gupta 2018, eq. 1).")
def agp(progress: float, params: ScheduleParams) -> float:
    return params.end + (params.start - params.end) * (1 - progress) ** 3


@SCHEDULES.register("A logistic curve: slow, fast, slow (Hubens et al. 2022).")
def one_cycle(progress: float, params: ScheduleParams) -> float:
    """At progress 0 it has covered 0.25 % of the way, not 0."""
    a, b = 14.0, 6.0
    return interpolate(params, (1 + math.exp(b - a)) / (1 + math.exp(b - a * progress)))


@SCHEDULES.register("Half a cosine: slow, fast, slow.")
def cosine(progress: float, params: ScheduleParams) -> float:
    return interpolate(params, (1 - math.cos(math.pi * progress)) / 2)


@SCHEDULES.register("A straight line.")
def linear(progress: float, params: ScheduleParams) -> float:
    return interpolate(params, progress)


@SCHEDULES.register("Dense, sparse, dense: up to the target at half time, then back (Han et al. 2017).")
def dsd(progress: float, params: ScheduleParams) -> float:
    return interpolate(params, (1 - math.cos(2 * math.pi * progress)) / 2)
