"""The decision rule: hand-worked cases, and its error rates where the truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lthrun.analysis.questions import Question
from lthrun.analysis.study_records import Comparison
from lthrun.analysis.verdict import (
    answer_question,
    answer_questions,
    average_seeds,
    choose_word,
    correct_by_holm,
    count_more_seeds,
    is_winning_ticket,
)

SAMPLES = st.lists(st.floats(-20, 20), min_size=3, max_size=12)


def ask(*differences: float, margin: float = 1.0, step: float = 1e-9, **names: str) -> Question:
    names = {"arm": "ticket", "against": "dense", "measure": "accuracy"} | names
    seeds = tuple(range(len(differences)))
    return Question(sparsity=50.0, seeds=seeds, differences=differences, margin=margin, step=step, **names)


def is_difference(row: Comparison) -> bool:
    return row.word in ("wins", "loses")


def test_the_interval_is_students():
    """Differences 1, 2, 3: mean 2, standard deviation 1, t(0.975, 2) = 4.302653."""
    row = answer_question(ask(1.0, 2.0, 3.0))
    half = 4.302653 / math.sqrt(3)
    assert row.interval == pytest.approx((2 - half, 2 + half), abs=1e-5)
    assert row.mean == 2 and row.n == 3 and row.word == "undecided"
    # t = 2 sqrt(3) = 3.4641 with 2 degrees of freedom: p = 1 - t / sqrt(2 + t^2)
    assert row.p == pytest.approx(1 - 12**0.5 / 14**0.5)


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
    row = answer_question(ask(0.4, 0.4, 0.4, step=0.4))
    half = 0.4 * 4.302653 / 6
    assert row.interval == pytest.approx((0.4 - half, 0.4 + half), abs=1e-6)
    assert 0.02 < row.p < 0.05, "too large for a correction for several questions"
    assert answer_question(ask(0.0, 0.0, 0.0, step=0.4)).word == "matches"
    counts = [(170, 168), (165, 163), (158, 156)]  # equal differences up to floating-point rounding
    noisy = answer_question(ask(*(100 * (a / 240 - b / 240) for a, b in counts), step=100 / 240))
    assert noisy.p > 0.001


@pytest.mark.parametrize("differences", [(), (5.0,), (5.0, 6.0)])
def test_fewer_than_three_seeds_have_no_verdict(differences: tuple[float, ...]):
    row = answer_question(ask(*differences))
    assert row.word is None and row.interval is None and row.p is None
    assert average_seeds([0.7, 0.8], 0.01).interval is None


def test_holm_by_hand():
    """p = 0.01, 0.04, 0.03 of three: 0.01 ≤ 0.05/3, 0.03 > 0.05/2, stop (Holm 1979)."""
    levels, adjusted = zip(*correct_by_holm([0.01, 0.04, 0.03]), strict=True)
    assert levels == pytest.approx((0.05 / 3, 0.05 / 2, 0.05 / 2))
    assert adjusted == pytest.approx((0.03, 0.06, 0.06))


@given(st.lists(st.floats(0, 1), max_size=8))
def test_a_p_value_is_below_its_level_exactly_where_the_adjusted_one_is_below_the_error(ps: list[float]):
    for p, (level, adjusted) in zip(ps, correct_by_holm(ps), strict=True):
        assume(abs(adjusted - 0.05) > 1e-9)
        assert (p <= level) == (adjusted <= 0.05)
        assert adjusted >= p


@given(st.lists(SAMPLES, min_size=1, max_size=6))
def test_corrected_intervals_exclude_zero_exactly_where_holm_rejects(samples: list[list[float]]):
    for row in answer_questions(None, [ask(*sample) for sample in samples]):
        low, high = row.interval
        assume(abs(row.p_holm - 0.05) > 1e-6)
        assert (low > 0 or high < 0) == (row.p_holm <= 0.05)


@given(st.floats(-5, 5), st.floats(0.01, 5), st.integers(3, 12))
def test_so_many_more_seeds_decide_and_one_fewer_does_not(mean: float, spread: float, n: int):
    from scipy.stats import t

    def word(m: int) -> str:
        half = t.ppf(0.975, m - 1) * spread / m**0.5
        return choose_word((mean - half, mean + half), 1.0)

    assume(word(n) == "undecided")
    more = count_more_seeds(mean, spread, n, 1.0, 0.95)
    if more is None:
        assert word(10_000) == "undecided"
    else:
        assert word(n + more) != "undecided"
        assert more == 1 or word(n + more - 1) == "undecided"


@pytest.mark.parametrize(("seeds", "margin"), [(3, 0.0), (5, 0.0), (5, 1.0), (10, 1.0)])
def test_where_nothing_differs_the_primary_answer_errs_in_5_of_100_studies(seeds: int, margin: float):
    """2,000 studies; a difference is claimed in 5 % of them, within four standard errors of 0.49 points; with a margin
    in no more than that."""
    rng = np.random.default_rng(1)
    words = [answer_question(ask(*rng.normal(0, 1, seeds), margin=margin)).word for _ in range(2000)]
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
        rows = answer_questions(None, [ask(*(shared + rng.normal(0, 1, 5)), margin=0.0) for _ in range(4)])
        wrong += any(map(is_difference, rows))
    assert 0 < wrong / studies <= 0.05 + 4 * 0.0089


@pytest.mark.parametrize(("seeds", "images"), [(3, 80), (3, 16), (5, 80)])
def test_accuracies_of_few_images_err_no_more_often(seeds: int, images: int):
    """Ten comparisons of shares of a few images, where equal differences are common; 600 studies."""
    rng = np.random.default_rng(5)
    wrong = 0
    for _ in range(600):
        correct = rng.binomial(images, 0.7, (11, seeds))
        asked = [ask(*(100 * (row - correct[0]) / images), margin=0.0, step=100 / images) for row in correct[1:]]
        wrong += any(map(is_difference, answer_questions(None, asked)))
    assert wrong / 600 <= 0.05 + 4 * 0.0089


def test_evaluations_of_a_training_err_no_more_often():
    """Five comparisons of the evaluation of lowest loss, at random among the last three; 600 studies of three seeds."""
    rng = np.random.default_rng(6)
    wrong = 0
    for _ in range(600):
        lowest = rng.integers(0, 3, (6, 3)) * 0.25
        asked = [ask(*(lowest[0] - row), margin=0.25, step=0.25) for row in lowest[1:]]
        wrong += any(map(is_difference, answer_questions(None, asked)))
    assert wrong / 600 <= 0.05 + 4 * 0.0089


def test_an_interval_of_shares_is_cut_to_shares():
    low, high = average_seeds([0.9, 1.0, 0.95], 0.01).interval
    assert high == 1.0 and low < 0.9


def test_a_real_difference_is_detected():
    rng = np.random.default_rng(3)
    words = [answer_question(ask(*rng.normal(3, 1, 5))).word for _ in range(500)]
    assert words.count("wins") > 450 and "loses" not in words


def test_a_difference_beyond_the_margin_seldom_matches():
    """Truth 2 points below, margin 1: "matches" in at most 2.5 % of the studies."""
    rng = np.random.default_rng(4)
    words = [answer_question(ask(*rng.normal(-2, 1, 4))).word for _ in range(2000)]
    assert words.count("matches") / 2000 <= 0.025


def test_a_winning_ticket_wins_or_matches_and_beats_both_controls():
    def claim(dense: list[float], mask: list[float] | None = None, init: list[float] | None = None) -> bool | None:
        controls = {"random-mask": mask, "random-init": init}
        asked = [ask(*values, against=name) for name, values in controls.items() if values]
        return is_winning_ticket(answer_questions(ask(*dense), asked), 50.0)

    good, same, bad = [5.0, 5.1, 5.2], [0.1, 0.0, -0.1], [-5.0, -5.1, -5.2]
    assert claim(good, good, good) is True and claim(same, good, good) is True
    assert claim(bad, good, good) is False and claim(good, same, good) is False and claim(good, good, bad) is False
    assert claim(good, good) is None
    assert claim(bad) is False, "whatever the controls would say"
    assert claim(good, init=bad) is False
    assert claim(good[:2], good, good) is None
