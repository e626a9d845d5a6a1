"""The decision rule: hand-worked cases, and its error rates where the truth is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from lthrun.analysis.questions import Question, StudyQuestions
from lthrun.analysis.seed_means import average_seeds, estimate
from lthrun.analysis.sequential import Look
from lthrun.analysis.study_records import Comparison
from lthrun.analysis.verdict import (
    Decision,
    answer_questions,
    choose_word,
    correct_by_holm,
    decide_at,
    decide_exploratory,
    is_winning_ticket,
)

SAMPLES = st.lists(st.floats(-20, 20), min_size=3, max_size=12)
ONE_LOOK = Look(5, 5)


def ask(*differences: float, margin: float = 1.0, step: float = 1e-9, **names: str) -> Question:
    names = {"arm": "ticket", "against": "dense", "measure": "accuracy"} | names
    seeds = tuple(range(len(differences)))
    return Question(sparsity=50.0, seeds=seeds, differences=differences, margin=margin, step=step, **names)


def answer(question: Question, look: Look = ONE_LOOK) -> Comparison:
    """As the primary question."""
    (row,) = answer_questions(StudyQuestions(question, [], []), look)
    return row


def word_of(question: Question) -> str:
    """The word of the primary question."""
    return decide_at(question, 0.05)


def is_difference(decision: Decision) -> bool:
    return decision.word in ("wins", "loses")


def explore(asked: Sequence[Question], look: Look = ONE_LOOK) -> list[Comparison]:
    return answer_questions(StudyQuestions(None, [], list(asked)), look)


def decide(asked: Sequence[Question]) -> list[Decision]:
    return decide_exploratory(asked, ONE_LOOK)


def test_the_interval_is_students():
    """Differences 1, 2, 3: mean 2, standard deviation 1, t(0.975, 2) = 4.302653."""
    row = answer(ask(1.0, 2.0, 3.0))
    half = 4.302653 / math.sqrt(3)
    assert row.interval == pytest.approx((2 - half, 2 + half), abs=1e-5)
    assert row.mean == 2 and row.n == 3 and row.word == "undecided"
    # t = 2 sqrt(3) = 3.4641 with 2 degrees of freedom: p = 1 - t / sqrt(2 + t^2)
    assert row.p == pytest.approx(1 - 12**0.5 / 14**0.5)


@given(SAMPLES)
def test_with_one_look_the_numbers_are_those_of_a_paired_t_test(sample: list[float]):
    assume(np.std(sample) > 1e-3)
    row, expected = answer(ask(*sample), Look(len(sample), len(sample))), stats.ttest_1samp(sample, 0)
    assert row.confidence == 0.95 and row.correction == "none" and row.is_claim and row.p_holm is None
    assert row.interval == pytest.approx(tuple(expected.confidence_interval(0.95)), rel=1e-12, abs=1e-12)
    assert row.p == pytest.approx(expected.pvalue, rel=1e-9, abs=1e-12)


def test_at_a_planned_look_all_words_come_from_its_interval():
    """The level of a first look at 5 of 20 seeds: 0.05 ln(1 + (e - 1) / 4)."""
    row, level = answer(ask(1.0, 1.2, 0.8, 1.1, 0.9), Look(5, 20)), 0.05 * math.log(1 + (math.e - 1) / 4)
    half = stats.t.isf(level / 2, 4) * math.sqrt(0.025 / 5)
    assert row.interval == pytest.approx((1 - half, 1 + half)) and row.confidence == pytest.approx(1 - level)
    assert row.correction == "looks" and row.word == choose_word(row.interval, 1.0) == "wins"


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.1, 5.0, "wins"), (0.1, 0.5, "wins"), (0.0, 0.5, "matches"), (-1.0, 1.0, "matches"), (-0.5, -0.1, "matches"),
        (-3.0, -0.1, "loses"), (-1.1, 0.0, "undecided"), (-0.2, 1.1, "undecided"), (0.0, 1.1, "undecided"),
    ],
)  # fmt: skip
def test_the_first_word_that_applies_is_chosen(low: float, high: float, word: str):
    assert choose_word((low, high), 1.0) == word


def test_seeds_that_agree_to_the_step_are_no_surer_than_rounding_to_it():
    """Three equal differences of one step: deviation 1 / √12, so half the interval is 4.302653 / √36 steps."""
    row = answer(ask(0.4, 0.4, 0.4, step=0.4))
    half = 0.4 * 4.302653 / 6
    assert row.interval == pytest.approx((0.4 - half, 0.4 + half), abs=1e-6)
    assert 0.02 < row.p < 0.05, "too large for a correction for several questions"
    assert answer(ask(0.0, 0.0, 0.0, step=0.4)).word == "matches"
    counts = [(170, 168), (165, 163), (158, 156)]  # equal differences up to floating-point rounding
    noisy = answer(ask(*(100 * (a / 240 - b / 240) for a, b in counts), step=100 / 240))
    assert noisy.p > 0.001


@pytest.mark.parametrize("differences", [(), (5.0,), (5.0, 6.0)])
def test_fewer_than_three_seeds_have_no_verdict(differences: tuple[float, ...]):
    row = answer(ask(*differences))
    assert row.word is None and row.interval is None and row.p is None
    assert average_seeds([0.7, 0.8], 0.01).interval is None


def test_holm_by_hand():
    """p = 0.01, 0.04, 0.03 of three: 0.01 ≤ 0.05/3, 0.03 > 0.05/2, stop (Holm 1979)."""
    remaining, adjusted = zip(*correct_by_holm([0.01, 0.04, 0.03], ONE_LOOK), strict=True)
    assert remaining == (3, 2, 2)
    assert adjusted == pytest.approx((0.03, 0.06, 0.06))


LOOKS = st.sampled_from([ONE_LOOK, Look(5, 20), Look(10, 20, (5,))])


@given(st.lists(st.floats(0, 1), max_size=8), LOOKS)
def test_a_p_value_is_below_its_level_exactly_where_the_adjusted_one_is_below_the_error(ps: list[float], look: Look):
    for p, (remaining, adjusted) in zip(ps, correct_by_holm(ps, look), strict=True):
        assume(abs(adjusted - 0.05) > 1e-9)
        assert (p <= look.level(0.05 / remaining)) == (adjusted <= 0.05)
        assert adjusted >= p


@given(st.lists(SAMPLES, min_size=1, max_size=6), LOOKS)
def test_exploratory_intervals_show_what_holm_decides(samples: list[list[float]], look: Look):
    for row in explore([ask(*sample) for sample in samples], look):
        low, high = row.interval
        assume(abs(row.p_holm - 0.05) > 1e-6 and abs(row.p_match_holm - 0.05) > 1e-6)
        is_different, is_match = row.p_holm <= 0.05, row.p_match_holm <= 0.05
        if is_different and row.mean > 0:
            assert row.word == "wins" and low > 0
        elif is_match:
            assert row.word == "matches" and low >= -1 and high <= 1
        elif is_different:
            assert row.word == "loses" and high < 0
        else:
            assert row.word == "undecided" and low <= 0 <= high and not (low >= -1 and high <= 1)


@given(SAMPLES, st.floats(0.1, 10))
def test_a_match_is_two_one_sided_t_tests(sample: list[float], margin: float):
    assume(np.std(sample) > 1e-3)
    ps = [
        stats.ttest_1samp(sample, -margin, alternative="greater"),
        stats.ttest_1samp(sample, margin, alternative="less"),
    ]
    expected = min(1.0, 2 * max(test.pvalue for test in ps))
    assert estimate(sample, 1e-9).p_match(margin) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_one_exploratory_question_is_answered_like_the_primary_one():
    for sample in ([5.0, 5.1, 5.2], [0.1, 0.0, -0.1], [-5.0, -5.1, -5.2], [-3.0, 0.0, 4.0]):
        (row,), primary = explore([ask(*sample)]), answer(ask(*sample))
        assert (row.word, row.interval, row.confidence) == (primary.word, primary.interval, primary.confidence)


def test_sooner_needs_no_worse():
    """A lowest loss 1.75 epochs sooner is no win where it is higher, and none where it may be."""
    sooner = ask(1.7, 1.75, 1.8, margin=0.25, measure="early_stopping")
    words = {}
    for name, losses in {"lower": (4.0, 4.1, 4.2), "same": (0.1, 0.0, -0.1), "higher": (-3.0, -3.1, -3.2)}.items():
        condition = ask(*losses, measure="lowest_loss")
        (row,) = explore([replace(sooner, condition=condition)])
        assert row.interval[0] > 0 and row.condition.mean == pytest.approx(sum(losses) / 3)
        assert row.condition.confidence == row.confidence
        words[name] = row.word
    assert words == {"lower": "wins", "same": "wins", "higher": "undecided"}
    (row,) = explore([replace(sooner, condition=ask(-5.0, 0.0, 5.0, measure="lowest_loss"))])
    assert row.word == "undecided"
    (row,) = explore([replace(ask(-1.7, -1.75, -1.8, margin=0.25), condition=ask(1.0, 1.0, 1.0))])
    assert row.word == "loses"


@pytest.mark.parametrize(("seeds", "margin"), [(3, 0.0), (5, 0.0), (5, 1.0), (10, 1.0)])
def test_where_nothing_differs_the_primary_answer_errs_in_5_of_100_studies(seeds: int, margin: float):
    """2,000 studies; a difference is claimed in 5 % of them, within four standard errors of 0.49 points; with a margin
    in no more than that."""
    rng = np.random.default_rng(1)
    words = [word_of(ask(*rng.normal(0, 1, seeds), margin=margin)) for _ in range(2000)]
    wins, loses = words.count("wins") / 2000, words.count("loses") / 2000
    assert wins == pytest.approx(0.025, abs=4 * 0.0035)
    assert wins + loses <= 0.05 + 4 * 0.0049
    if margin == 0:
        assert wins + loses == pytest.approx(0.05, abs=4 * 0.0049)


def test_where_nothing_differs_any_of_four_secondary_answers_errs_in_at_most_5_of_100_studies():
    """600 studies of four comparisons; the standard error of 5 % is 0.89 points."""
    rng = np.random.default_rng(2)
    studies, wrong = 600, 0
    for _ in range(studies):
        shared = rng.normal(0, 1, 5)  # comparisons with one arm in common depend on each other
        decisions = decide([ask(*(shared + rng.normal(0, 1, 5)), margin=0.0) for _ in range(4)])
        wrong += any(map(is_difference, decisions))
    assert 0 < wrong / studies <= 0.05 + 4 * 0.0089


@pytest.mark.parametrize(("seeds", "images"), [(3, 80), (3, 16), (5, 80)])
def test_accuracies_of_few_images_err_no_more_often(seeds: int, images: int):
    """Ten comparisons of shares of a few images, where equal differences are common; 600 studies."""
    rng = np.random.default_rng(5)
    wrong = 0
    for _ in range(600):
        correct = rng.binomial(images, 0.7, (11, seeds))
        asked = [ask(*(100 * (row - correct[0]) / images), margin=0.0, step=100 / images) for row in correct[1:]]
        wrong += any(map(is_difference, decide(asked)))
    assert wrong / 600 <= 0.05 + 4 * 0.0089


def test_evaluations_of_a_training_err_no_more_often():
    """Five comparisons of the evaluation of lowest loss, at random among the last three; 600 studies of three seeds."""
    rng = np.random.default_rng(6)
    wrong = 0
    for _ in range(600):
        lowest = rng.integers(0, 3, (6, 3)) * 0.25
        asked = [ask(*(lowest[0] - row), margin=0.25, step=0.25) for row in lowest[1:]]
        wrong += any(map(is_difference, decide(asked)))
    assert wrong / 600 <= 0.05 + 4 * 0.0089


def test_an_interval_of_shares_is_cut_to_shares():
    low, high = average_seeds([0.9, 1.0, 0.95], 0.01).interval
    assert high == 1.0 and low < 0.9


def test_a_real_difference_is_detected():
    rng = np.random.default_rng(3)
    words = [word_of(ask(*rng.normal(3, 1, 5))) for _ in range(500)]
    assert words.count("wins") > 450 and "loses" not in words


def test_a_difference_beyond_the_margin_seldom_matches():
    """Truth 2 points below, margin 1: "matches" in at most 2.5 % of the studies."""
    rng = np.random.default_rng(4)
    words = [word_of(ask(*rng.normal(-2, 1, 4))) for _ in range(2000)]
    assert words.count("matches") / 2000 <= 0.025


def test_where_all_differ_by_more_than_the_margin_matches_is_said_in_at_most_5_of_100_studies():
    """The bad case for uncorrected matches: 10 of 20 questions differ plainly, 10 lie just beyond the margin."""
    rng = np.random.default_rng(7)
    truths = [20.0] * 10 + [-1.001] * 10
    wrong = 0
    for _ in range(200):
        decisions = decide([ask(*rng.normal(truth, 0.4, 5)) for truth in truths])
        wrong += any(decision.word == "matches" for decision in decisions)
    assert wrong / 200 <= 0.05 + 3 * 0.0154


def claim(dense: list[float], mask: list[float] | None = None, init: list[float] | None = None) -> bool | None:
    controls = [ask(*values, against=name) for name, values in (("random-mask", mask), ("random-init", init)) if values]
    return is_winning_ticket(answer_questions(StudyQuestions(ask(*dense), controls, []), ONE_LOOK))


def test_a_winning_ticket_wins_or_matches_and_beats_both_controls():
    good, same, bad = [5.0, 5.1, 5.2], [0.1, 0.0, -0.1], [-5.0, -5.1, -5.2]
    assert claim(good, good, good) is True and claim(same, good, good) is True
    assert claim(bad, good, good) is False and claim(good, same, good) is False and claim(good, good, bad) is False
    assert claim(good, good) is None
    assert claim(bad) is False, "whatever the controls would say"
    assert claim(good, init=bad) is False
    assert claim(good[:2], good, good) is None
    assert is_winning_ticket([]) is None


def test_the_claim_has_power_whatever_else_is_asked():
    """3 points better than both controls, no worse than dense, deviation 0.5: five seeds, 30 exploratory questions."""
    rng = np.random.default_rng(8)
    shown = 0
    for _ in range(20):
        controls = [ask(*rng.normal(3, 0.5, 5), against=name) for name in ("random-mask", "random-init")]
        others = [ask(*rng.normal(0, 0.5, 5), measure="balanced_accuracy") for _ in range(30)]
        rows = answer_questions(StudyQuestions(ask(*rng.normal(0, 0.3, 5)), controls, others), ONE_LOOK)
        assert [row.is_claim for row in rows[:4]] == [True, True, True, False]
        assert all(row.confidence == 0.95 and row.p_holm is None for row in rows[:3])
        shown += bool(is_winning_ticket(rows))
    assert shown >= 18
