"""The decision rule: does one arm do better than another, and how sure is that?

Arms of one seed share split, initialization and data order, so their differences are paired. The mean difference over
the seeds has Student's t interval, and the first word that applies is the answer:

    wins        the whole interval lies above 0
    matches     the whole interval lies within ± the margin
    loses       the whole interval lies below 0
    undecided   none of these; then about how many more seeds would decide, if mean and spread stay as they are

A measure moves in steps (one image, one evaluation), and a few seeds may agree to the step by chance. So the variance
of the differences is at least step² / 12, that of rounding to steps.

One question is primary and has a 95 % interval. All others are secondary: their p values are ordered, and each interval
has the confidence of its place in Holm's procedure (Holm 1979), so that it excludes 0 exactly where Holm rejects. If no
arm differed, the primary answer would be "wins" or "loses" in 5 % of all studies, and any secondary one in at most 5 %.
Fewer than three seeds have no verdict: an interval of two values says nothing.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

from lthrun.analysis.intervals import CONFIDENCE
from lthrun.analysis.questions import Question
from lthrun.analysis.study_records import Comparison, SeedMean
from lthrun.records import Interval

FEWEST_SEEDS = 3
MOST_SEEDS = 10_000


def answer_question(
    question: Question, confidence: float = CONFIDENCE, is_primary: bool = False, p_holm: float | None = None
) -> Comparison:
    """Mean, interval, p value and word; without a word from fewer than three seeds."""
    differences = question.differences
    n, mean = len(differences), sum(differences) / len(differences) if differences else None
    interval, p, word, more = None, None, None, None
    if mean is not None and n >= FEWEST_SEEDS:
        interval, p = t_interval(differences, confidence, question.step)
        word = choose_word(interval, question.margin)
        if word == "undecided":
            spread = standard_deviation(differences, question.step)
            more = count_more_seeds(mean, spread, n, question.margin, confidence)
    return Comparison(
        arm=question.arm,
        against=question.against,
        measure=question.measure,
        sparsity=question.sparsity,
        n=n,
        seeds=list(question.seeds),
        differences=list(differences),
        mean=mean,
        interval=interval,
        confidence=confidence,
        p=p,
        p_holm=p_holm,
        word=word,
        more_seeds=more,
        margin=question.margin,
        unit=question.unit,
        is_primary=is_primary,
    )


def answer_questions(primary: Question | None, secondary: Sequence[Question]) -> list[Comparison]:
    """The comparisons, the primary one first; the secondary ones corrected by Holm's procedure."""
    testable = [i for i, question in enumerate(secondary) if len(question.differences) >= FEWEST_SEEDS]
    ps = [t_interval(secondary[i].differences, CONFIDENCE, secondary[i].step)[1] for i in testable]
    corrected = dict(zip(testable, correct_by_holm(ps), strict=True))
    comparisons = [] if primary is None else [answer_question(primary, is_primary=True)]
    for i, question in enumerate(secondary):
        level, p_holm = corrected.get(i, (1 - CONFIDENCE, None))
        comparisons.append(answer_question(question, 1 - level, p_holm=p_holm))
    return comparisons


def t_interval(values: Sequence[float], confidence: float, step: float) -> tuple[Interval, float]:
    """Student's interval of the mean, and the two-sided p value for a mean of 0."""
    from scipy.stats import t

    n, mean = len(values), sum(values) / len(values)
    error, student = standard_deviation(values, step) / math.sqrt(n), t(n - 1)
    half = float(student.ppf((1 + confidence) / 2)) * error
    return (mean - half, mean + half), float(2 * student.sf(abs(mean) / error))


def standard_deviation(values: Sequence[float], step: float) -> float:
    """Of a sample, and at least that of rounding to steps."""
    mean = sum(values) / len(values)
    return math.sqrt(max(sum((value - mean) ** 2 for value in values) / (len(values) - 1), step**2 / 12))


def choose_word(interval: Interval, margin: float) -> str:
    """The first word that applies to an interval."""
    low, high = interval
    if low > 0:
        return "wins"
    if -margin <= low and high <= margin:
        return "matches"
    return "loses" if high < 0 else "undecided"


def count_more_seeds(mean: float, spread: float, n: int, margin: float, confidence: float) -> int | None:
    """How many seeds beyond `n` would decide if mean and standard deviation stayed; None: more than can be trained."""
    from scipy.stats import t

    def is_decided(m: int) -> bool:
        half = float(t.ppf((1 + confidence) / 2, m - 1)) * spread / math.sqrt(m)
        return choose_word((mean - half, mean + half), margin) != "undecided"

    numbers = range(n + 1, MOST_SEEDS + 1)  # the interval shrinks with m, so deciding is monotone in m
    place = bisect_left(numbers, True, key=is_decided)
    return place + 1 if place < len(numbers) else None


def correct_by_holm(ps: Sequence[float], error: float = 1 - CONFIDENCE) -> list[tuple[float, float]]:
    """For each p value the level that Holm's procedure compares it with, and the adjusted p value (Holm 1979).

    The procedure stops at the first p value above its level. Those after it are compared with that level too.
    """
    corrected = [(0.0, 0.0)] * len(ps)
    level, largest, is_stopped = 0.0, 0.0, False
    for place, i in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        remaining = len(ps) - place
        level = level if is_stopped else error / remaining
        is_stopped = is_stopped or ps[i] > level
        largest = max(largest, min(1.0, remaining * ps[i]))
        corrected[i] = level, largest
    return corrected


def average_seeds(values: Sequence[float], step: float) -> SeedMean:
    """The mean of shares (0 to 1) over the seeds with its 95 % t interval, cut to 0 to 1."""
    interval = None
    if len(values) >= FEWEST_SEEDS:
        (low, high), _ = t_interval(values, CONFIDENCE, step)
        interval = max(0.0, low), min(1.0, high)
    return SeedMean(mean=sum(values) / len(values), interval=interval, values=list(values))


CONTROLS = {"random-mask": "random masks", "random-init": "its own mask on other initial weights"}
"""The arms that a winning ticket has to beat."""


def is_winning_ticket(comparisons: Sequence[Comparison], sparsity: float) -> bool | None:
    """Whether the ticket wins or matches against the dense network and wins against both controls.

    None where one of these is not known and none of the others fails.
    """
    words = {
        row.against: row.word
        for row in comparisons
        if row.arm == "ticket" and row.measure == "accuracy" and row.sparsity == sparsity
    }
    needed = {"dense": ("wins", "matches"), **dict.fromkeys(CONTROLS, ("wins",))}
    holds = [None if words.get(against) is None else words[against] in fit for against, fit in needed.items()]
    return False if False in holds else None if None in holds else True
