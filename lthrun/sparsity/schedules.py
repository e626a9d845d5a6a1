"""Schedules: sparsity as a function of progress from 0 to 1.

A new schedule is one registered function. A ticket rewinds at every change of sparsity, so it needs a schedule that
moves in steps; the smooth ones are for `lthrun prune`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lthrun.registry import Entry, Table


@dataclass(frozen=True)
class ScheduleEntry(Entry):
    """A schedule of sparsity; a `stepped` one moves in steps, at which a ticket can rewind."""

    stepped: bool = False


SCHEDULES = Table("schedules", "pruning.schedule", ScheduleEntry)


@dataclass(frozen=True)
class ScheduleParams:
    """The parameters of a schedule.

    Attributes:
        start, end: sparsity in percent, each at least 0 and below 100.
        steps: number of pruning steps, at least 1.
        sparsities: percent after each pruning step of `custom`, in order.
    """

    start: float = 0.0
    end: float = 50.0
    steps: int = 3
    sparsities: tuple[float, ...] = ()


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


def count_steps(name: str, params: ScheduleParams) -> int:
    """The number of pruning steps."""
    return {"one_shot": 1, "custom": len(params.sparsities)}.get(name, params.steps)


def sparsity_targets(name: str, params: ScheduleParams) -> list[float]:
    """Sparsity in percent before the first pruning step, always 0, and after each step."""
    n = count_steps(name, params)
    return [0.0, *(SCHEDULES[name](k / n, params) for k in range(1, n + 1))]
