"""The verdict: does one arm do better than another, and how sure is that?

The rule. Arms with one seed share split, initialisation and data order, so their differences are paired. Of the
differences, one per seed, the mean comes with Student's t interval, and the first word that applies is said.
A measure moves in steps (one image, one look), and a few seeds may agree to the step without being sure of it: so the
variance counts as step² / 12 at least, that of rounding to steps.

    wins        the whole interval lies above 0
    matches     the whole interval lies within ± the margin
    loses       the whole interval lies below 0
    undecided   none of these; then about how many more seeds would decide, if mean and spread stay as they are

One question is primary and has the interval of 95 %. All others are secondary: their p values are ordered and each
interval has the confidence of its place in Holm's procedure (Holm 1979), so that it leaves out 0 where Holm rejects.
If no arm differed, the primary question would be answered "wins" or "loses" in 5 % of all studies, and any of the
secondary ones in at most 5 %. Fewer than three seeds have no verdict: an interval of two values says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lthrun.analysis.intervals import CONFIDENCE

FEWEST = 3
MOST_SEEDS = 10_000


@dataclass(frozen=True)
class Question:
    """Whether `arm` does better than `against` by a measure, at a sparsity in percent.

    Attributes:
        seeds, differences: one difference per seed, positive where the arm is better, in `unit` (`points` of percent,
            or `epochs`).
        margin: up to which difference the two are called equal, in the same unit.
        step: the smallest difference that the measure can show, in the same unit.
    """

    arm: str
    against: str
    measure: str
    sparsity: float | None
    seeds: tuple[int, ...]
    differences: tuple[float, ...]
    margin: float
    step: float
    unit: str = "points"


def answer(question: Question, confidence: float = CONFIDENCE) -> dict[str, Any]:
    """The comparison as a record: mean, interval, p value (two-sided paired t test), word."""
    found = question.differences
    n, mean = len(found), sum(found) / len(found) if found else None
    interval, p, word, more = None, None, None, None
    if mean is not None and n >= FEWEST:
        low, high, p = t_interval(found, confidence, question.step)
        interval, word = [low, high], decide(low, high, question.margin)
        if word == "undecided":
            more = more_seeds(mean, deviation(found, question.step), n, question.margin, confidence)
    return {
        "arm": question.arm,
        "against": question.against,
        "measure": question.measure,
        "sparsity": question.sparsity,
        "n": n,
        "seeds": list(question.seeds),
        "differences": list(found),
        "mean": mean,
        "interval": interval,
        "confidence": confidence,
        "p": p,
        "word": word,
        "more_seeds": more,
        "margin": question.margin,
        "unit": question.unit,
    }


def answer_all(primary: Question | None, secondary: Sequence[Question]) -> list[dict[str, Any]]:
    """The comparisons, the primary one first; the secondary ones corrected by Holm's procedure."""
    plain = [answer(question) for question in secondary]
    asked = [i for i, found in enumerate(plain) if found["p"] is not None]
    levels, adjusted = holm([plain[i]["p"] for i in asked])
    by_place = dict(zip(asked, zip(levels, adjusted, strict=True), strict=True))
    corrected = []
    for i, question in enumerate(secondary):
        level, p = by_place.get(i, (1 - CONFIDENCE, None))
        corrected.append({**answer(question, 1 - level), "primary": False, "p_holm": p})
    first = [] if primary is None else [{**answer(primary), "primary": True, "p_holm": None}]
    return first + corrected


def t_interval(values: Sequence[float], confidence: float, step: float) -> tuple[float, float, float]:
    """Student's interval of the mean, and the two-sided p value of its being 0."""
    from scipy.stats import t

    n, mean = len(values), sum(values) / len(values)
    error, spread = deviation(values, step) / math.sqrt(n), t(n - 1)
    half = float(spread.ppf((1 + confidence) / 2)) * error
    return mean - half, mean + half, float(2 * spread.sf(abs(mean) / error))


def decide(low: float, high: float, margin: float) -> str:
    """The word for an interval: the first that applies."""
    if low > 0:
        return "wins"
    if -margin <= low and high <= margin:
        return "matches"
    return "loses" if high < 0 else "undecided"


def more_seeds(mean: float, spread: float, n: int, margin: float, confidence: float) -> int | None:
    """How many seeds more than `n` would decide, were mean and standard deviation to stay; None: too many to be had."""
    from scipy.stats import t

    def decided(m: int) -> bool:
        half = float(t.ppf((1 + confidence) / 2, m - 1)) * spread / math.sqrt(m)
        return decide(mean - half, mean + half, margin) != "undecided"

    if not decided(MOST_SEEDS):
        return None
    low, high = n, MOST_SEEDS  # the interval only shrinks with m, so the first m that decides is found by halving
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decided(middle) else (middle, high)
    return high - n


def deviation(values: Sequence[float], step: float) -> float:
    """The standard deviation of a sample, and that of rounding to steps at least."""
    mean = sum(values) / len(values)
    return math.sqrt(max(sum((value - mean) ** 2 for value in values) / (len(values) - 1), step**2 / 12))


def holm(ps: Sequence[float], error: float = 1 - CONFIDENCE) -> tuple[list[float], list[float]]:
    """Of each p value, the level that Holm's procedure compares it with, and the adjusted p value (Holm 1979).

    The procedure stops at the first p value above its level; those after it are compared with that level too.
    """
    levels, adjusted = [0.0] * len(ps), [0.0] * len(ps)
    level, largest, stopped = 0.0, 0.0, False
    for place, i in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        left = len(ps) - place
        level = level if stopped else error / left
        stopped = stopped or ps[i] > level
        largest = max(largest, min(1.0, left * ps[i]))
        levels[i], adjusted[i] = level, largest
    return levels, adjusted


def mean_interval(values: Sequence[float], step: float) -> dict[str, Any]:
    """The mean of shares with its 95 % t interval over the seeds (none from fewer than three), as far as a share can
    lie in it, and the values."""
    interval = None
    if len(values) >= FEWEST:
        low, high, _ = t_interval(values, CONFIDENCE, step)
        interval = [max(0.0, low), min(1.0, high)]
    return {"mean": sum(values) / len(values), "interval": interval, "values": list(values)}


CONTROLS = {"random-mask": "random masks", "random-init": "its mask on weights drawn anew"}


def winning(comparisons: Sequence[dict[str, Any]], sparsity: float) -> bool | None:
    """Whether the ticket at a sparsity is a winning ticket: it wins or matches against the dense network, and wins
    against random masks and against its own mask on weights drawn anew. None where one of these is not known and the
    others hold."""
    words = {
        found["against"]: found["word"]
        for found in comparisons
        if found["arm"] == "ticket" and found["measure"] == "accuracy" and found["sparsity"] == sparsity
    }
    fit = {"dense": ("wins", "matches"), **dict.fromkeys(CONTROLS, ("wins",))}
    held = [None if words.get(rival) is None else words[rival] in fitting for rival, fitting in fit.items()]
    return False if False in held else None if None in held else True
