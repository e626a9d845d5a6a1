"""The decision rule: does one arm do better than another, and how sure is that?

Arms of one seed share split, initialization and data order, so their differences are paired. The mean difference over
the seeds has Student's t interval, and the first word that applies is the answer:

    wins        the whole interval lies above 0
    matches     the whole interval lies within ± the margin
    loses       the whole interval lies below 0
    undecided   none of these

With one planned look the intervals of the primary question and of the other parts of the claim have 95 %; with several
they have the confidence of the look (sequential.py). The claim "winning ticket" holds where all its parts do: an
intersection-union test, which needs no correction for its parts (Berger 1982).

All other questions are exploratory. Two families of tests are corrected by Holm's procedure (Holm 1979): those for a
difference, and for matches the two one-sided tests of each question. If no arm differed, any of them would be called
"wins" or "loses" in at most 5 % of all studies; if all differed by more than the margin, any would be called "matches"
in at most 5 %. With several planned looks each place of the procedure has its share of the error spread over the looks.
The printed interval is the one that decides: it excludes 0 where the answer is "wins" or "loses", lies within the
margin where it is "matches", and is the wider one where it is "undecided".

Fewer than three seeds have no verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lthrun.analysis.collapse import find_extremes
from lthrun.analysis.forecast import forecast_seeds
from lthrun.analysis.questions import CONTROLS, Question, StudyQuestions
from lthrun.analysis.seed_means import FEWEST_SEEDS, Estimate, estimate
from lthrun.analysis.sequential import ERROR, Look
from lthrun.analysis.study_records import Comparison, Correction
from lthrun.records import Interval


class HolmPlace(NamedTuple):
    """The place of a p value in Holm's procedure: it is compared with the level of an error of 5 % / `remaining`."""

    remaining: int
    p: float
    """Adjusted, so that 0.05 is its threshold."""


class Decision(NamedTuple):
    """The word for a question that may err in 5 % / `remaining` of all studies; no word from fewer than three seeds."""

    word: str | None = None
    remaining: int = 1
    p_holm: float | None = None
    p_match_holm: float | None = None


def answer_questions(questions: StudyQuestions, look: Look) -> list[Comparison]:
    """The comparisons: the primary one first, then the other parts of the claim, then the exploratory ones."""
    claim = [*([questions.primary] if questions.primary else []), *questions.controls]
    rows = [
        record_answer(question, look, decide_claim(question, look), question is questions.primary, is_claim=True)
        for question in claim
    ]
    decisions = decide_exploratory(questions.exploratory, look)
    return rows + [
        record_answer(question, look, decision)
        for question, decision in zip(questions.exploratory, decisions, strict=True)
    ]


def decide_claim(question: Question, look: Look) -> Decision:
    """The word for a part of the claim. All four follow from one interval."""
    if not has_enough_seeds(question):
        return Decision()
    return Decision(decide_at(question, look.level()))


def decide_exploratory(questions: Sequence[Question], look: Look) -> list[Decision]:
    """The words for exploratory questions; differences and matches are each corrected by Holm's procedure."""
    testable = [question for question in questions if has_enough_seeds(question)]
    differences = correct_by_holm([summarize(question).p_difference() for question in testable], look)
    matches = correct_by_holm([summarize(question).p_match(question.margin) for question in testable], look)
    decided = map(decide_corrected, testable, [look] * len(testable), differences, matches)
    return [next(decided) if has_enough_seeds(question) else Decision() for question in questions]


def decide_corrected(question: Question, look: Look, difference: HolmPlace, match: HolmPlace) -> Decision:
    """The first word that applies. With a condition "wins" needs that as well, at the same confidence."""
    level = look.level(ERROR / difference.remaining)
    low, high = summarize(question).interval(1 - level)
    is_match = lies_within(summarize(question).interval(1 - look.level(ERROR / match.remaining)), question.margin)
    if low > 0:
        condition = question.condition
        is_met = condition is None or decide_at(condition, level) in ("wins", "matches")
        word, remaining = "wins" if is_met else "undecided", difference.remaining
    elif is_match:
        word, remaining = "matches", match.remaining
    elif high < 0:
        word, remaining = "loses", difference.remaining
    else:
        word, remaining = "undecided", max(difference.remaining, match.remaining)
    return Decision(word, remaining, difference.p, match.p)


def record_answer(
    question: Question, look: Look, decision: Decision, is_primary: bool = False, is_claim: bool = False
) -> Comparison:
    """The comparison, with the interval that decided it."""
    error = ERROR / decision.remaining
    level, n = look.level(error), len(question.differences)
    summary, forecast, condition = None, None, None
    if has_enough_seeds(question):
        summary = summarize(question)
        if decide_at(question, level) == "undecided":
            forecast = forecast_seeds(summary, question.margin, look, error)
    if question.condition:
        word = decide_at(question.condition, level) if summary else None
        condition = record_answer(question.condition, look, Decision(word, decision.remaining))
    correction: Correction = "none" if is_claim else "questions"
    if not look.is_only:
        correction = "looks" if is_claim else "looks and questions"
    return Comparison(
        arm=question.arm,
        against=question.against,
        measure=question.measure,
        sparsity=question.sparsity,
        n=n,
        seeds=list(question.seeds),
        differences=list(question.differences),
        mean=sum(question.differences) / n if n else None,
        interval=summary and summary.interval(1 - level),
        confidence=1 - level,
        correction=correction,
        p=summary and summary.p_difference(),
        p_match=summary and summary.p_match(question.margin),
        p_holm=decision.p_holm,
        p_match_holm=decision.p_match_holm,
        word=decision.word,
        margin=question.margin,
        unit=question.unit,
        is_primary=is_primary,
        is_claim=is_claim,
        forecast=forecast,
        extremes=find_extremes(question) if n and question.unit == "points" else None,
        condition=condition,
    )


def has_enough_seeds(question: Question) -> bool:
    return len(question.differences) >= FEWEST_SEEDS


def summarize(question: Question) -> Estimate:
    return estimate(question.differences, question.step)


def decide_at(question: Question, level: float) -> str:
    return choose_word(summarize(question).interval(1 - level), question.margin)


def choose_word(interval: Interval, margin: float) -> str:
    """The first word that applies to an interval."""
    low, high = interval
    if low > 0:
        return "wins"
    if lies_within(interval, margin):
        return "matches"
    return "loses" if high < 0 else "undecided"


def lies_within(interval: Interval, margin: float) -> bool:
    low, high = interval
    return -margin <= low and high <= margin


def correct_by_holm(ps: Sequence[float], look: Look) -> list[HolmPlace]:
    """The place of each p value in Holm's procedure at a look (Holm 1979).

    The procedure stops at the first p value above its level. Those after it keep its place.
    """
    places = [HolmPlace(1, 1.0)] * len(ps)
    remaining, largest, is_stopped = len(ps), 0.0, False
    for rank, i in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        level = look.level(ERROR / (len(ps) - rank))
        if not is_stopped:
            remaining, is_stopped = len(ps) - rank, ps[i] > level
        largest = max(largest, min(1.0, ERROR / level * ps[i]))
        places[i] = HolmPlace(remaining, largest)
    return places


def is_winning_ticket(comparisons: Sequence[Comparison]) -> bool | None:
    """Whether the claim holds: the ticket wins or matches against the dense network and wins against both controls.

    None where a part has no word and no other part fails.
    """
    words = {row.against: row.word for row in comparisons if row.is_claim}
    needed = {"dense": ("wins", "matches"), **dict.fromkeys(CONTROLS, ("wins",))}
    holds = [None if words.get(against) is None else words[against] in fit for against, fit in needed.items()]
    return False if False in holds else None if None in holds else True
