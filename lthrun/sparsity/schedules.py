"""Schedules: how the sparsity moves, as functions of progress from 0 to 1.

A new schedule is one function here and one line in `SCHEDULES`. A ticket rewinds at every change, so it takes those
that move in steps; the others are for `lthrun prune`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


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


def one_shot(progress: float, course: Course) -> float:
    """All at once."""
    return course.end if progress > 0 else course.start


def iterative(progress: float, course: Course) -> float:
    """Equal steps: target · k / n (the tutorial's)."""
    return course.start + (course.end - course.start) * stage(progress, course.steps) / course.steps


def geometric(progress: float, course: Course) -> float:
    """The same share of what remains in each step (Frankle & Carbin 2019, section 2; 20 % there)."""
    left = (100 - course.end) / (100 - course.start)
    return 100 - (100 - course.start) * float(left ** (stage(progress, course.steps) / course.steps))


def custom(progress: float, course: Course) -> float:
    """The percents of pruning.sparsities, one after the other."""
    at = stage(progress, len(course.sparsities))
    return course.sparsities[at - 1] if at else course.start


def agp(progress: float, course: Course) -> float:
    """Automated gradual pruning, cubic: fast at first (Zhu & Gupta 2018, eq. 1)."""
    return course.end + (course.start - course.end) * (1 - progress) ** 3


def one_cycle(progress: float, course: Course) -> float:
    """A logistic curve: slow, fast, slow (Hubens et al. 2022).

    At progress 0 it is 0.25 % of the way, not 0.
    """
    a, b = 14.0, 6.0
    return between(course, (1 + math.exp(b - a)) / (1 + math.exp(b - a * progress)))


def cosine(progress: float, course: Course) -> float:
    """Half a cosine: slow, fast, slow."""
    return between(course, (1 - math.cos(math.pi * progress)) / 2)


def linear(progress: float, course: Course) -> float:
    """A straight line."""
    return between(course, progress)


def dsd(progress: float, course: Course) -> float:
    """Dense, sparse, dense: up to the target at half time and back (Han et al. 2017)."""
    return between(course, (1 - math.cos(2 * math.pi * progress)) / 2)


Schedule = Callable[[float, Course], float]
SCHEDULES: dict[str, Schedule] = {
    function.__name__: function
    for function in (one_shot, iterative, geometric, custom, agp, one_cycle, cosine, linear, dsd)
}
STEPPED = ("one_shot", "iterative", "geometric", "custom")


def prunings(name: str, course: Course) -> int:
    """How many prunings there are."""
    return {"one_shot": 1, "custom": len(course.sparsities)}.get(name, course.steps)


def targets(name: str, course: Course) -> list[float]:
    """The sparsity in percent after each pruning, and first of all before the first, which is always 0."""
    n = prunings(name, course)
    return [0.0, *(SCHEDULES[name](k / n, course) for k in range(1, n + 1))]
