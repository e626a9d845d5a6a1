"""Schedules: how the sparsity moves, as functions of progress from 0 to 1.

A new schedule is one registered function. A ticket rewinds at every change, so it takes those that move
in steps; the others are for `lthrun prune`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lthrun.registry import Entry, Table


@dataclass(frozen=True)
class ScheduleEntry(Entry):
    """A schedule of sparsity; a `stepped` one moves in steps, between which a ticket can rewind."""

    stepped: bool = False


SCHEDULES = Table("schedules", "pruning.schedule", ScheduleEntry)


@dataclass(frozen=True)
class Course:
    """Where a schedule goes.

    Attributes:
        start, end: sparsity in percent, each at least 0 and below 100.
        steps: number of prunings, at least 1.
        sparsities: the percents of `custom`, in order.
    """

    start: float = 0.0
    end: float = 50.0
    steps: int = 3
    sparsities: tuple[float, ...] = ()


def between(course: Course, share: float) -> float:
    return course.start + (course.end - course.start) * share


def stage(progress: float, steps: int) -> int:
    """How many of `steps` equal steps have begun: 0 at 0, 1 right after it, all of them at 1."""
    return math.ceil(round(progress * steps, 9))


@SCHEDULES.register("All at once.", stepped=True)
def one_shot(progress: float, course: Course) -> float:
    return course.end if progress > 0 else course.start


@SCHEDULES.register("Equal steps: target · k / n (the tutorial's).", stepped=True)
def iterative(progress: float, course: Course) -> float:
    return course.start + (course.end - course.start) * stage(progress, course.steps) / course.steps


@SCHEDULES.register(
    "The same share of what remains in each step (Frankle & Carbin 2019, section 2; 20 % there).", stepped=True
)
def geometric(progress: float, course: Course) -> float:
    left = (100 - course.end) / (100 - course.start)
    return 100 - (100 - course.start) * float(left ** (stage(progress, course.steps) / course.steps))


@SCHEDULES.register("The percents of pruning.sparsities, one after the other.", stepped=True)
def custom(progress: float, course: Course) -> float:
    at = stage(progress, len(course.sparsities))
    return course.sparsities[at - 1] if at else course.start


@SCHEDULES.register("Automated gradual pruning, cubic: fast at first (Zhu & Gupta 2018, eq. 1).")
def agp(progress: float, course: Course) -> float:
    return course.end + (course.start - course.end) * (1 - progress) ** 3


@SCHEDULES.register("A logistic curve: slow, fast, slow (Hubens et al. 2022).")
def one_cycle(progress: float, course: Course) -> float:
    """At progress 0 it is 0.25 % of the way, not 0."""
    a, b = 14.0, 6.0
    return between(course, (1 + math.exp(b - a)) / (1 + math.exp(b - a * progress)))


@SCHEDULES.register("Half a cosine: slow, fast, slow.")
def cosine(progress: float, course: Course) -> float:
    return between(course, (1 - math.cos(math.pi * progress)) / 2)


@SCHEDULES.register("A straight line.")
def linear(progress: float, course: Course) -> float:
    return between(course, progress)


@SCHEDULES.register("Dense, sparse, dense: up to the target at half time and back (Han et al. 2017).")
def dsd(progress: float, course: Course) -> float:
    return between(course, (1 - math.cos(2 * math.pi * progress)) / 2)


def prunings(name: str, course: Course) -> int:
    """How many prunings there are."""
    return {"one_shot": 1, "custom": len(course.sparsities)}.get(name, course.steps)


def targets(name: str, course: Course) -> list[float]:
    """The sparsity in percent after each pruning, and first of all before the first, which is always 0."""
    n = prunings(name, course)
    return [0.0, *(SCHEDULES[name](k / n, course) for k in range(1, n + 1))]
