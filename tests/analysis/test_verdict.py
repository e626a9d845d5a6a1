"""The verdict: hand-worked cases, and how often it errs where the truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lthrun.analysis.verdict import Question, answer, answer_all, decide, holm, mean_interval, more_seeds, winning

SAMPLES = st.lists(st.floats(-20, 20), min_size=3, max_size=12)


def question(*differences: float, margin: float = 1.0, step: float = 1e-9, **facts: str) -> Question:
    names = {"arm": "ticket", "against": "dense", "measure": "accuracy"} | facts
    seeds = tuple(range(len(differences)))
    return Question(sparsity=50.0, seeds=seeds, differences=differences, margin=margin, step=step, **names)


def test_the_interval_is_students():
    """Differences 1, 2, 3: mean 2, standard deviation 1, t(0.975, 2) = 4.302653."""
    found = answer(question(1.0, 2.0, 3.0))
    half = 4.302653 / math.sqrt(3)
    assert found["interval"] == pytest.approx([2 - half, 2 + half], abs=1e-5)
    assert found["mean"] == 2 and found["n"] == 3 and found["word"] == "undecided"
    # t = 2 sqrt(3) = 3.4641 with 2 degrees of freedom: p = 1 - t / sqrt(2 + t^2)
    assert found["p"] == pytest.approx(1 - 12**0.5 / 14**0.5)


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.1, 5.0, "wins"), (0.1, 0.5, "wins"), (0.0, 0.5, "matches"), (-1.0, 1.0, "matches"), (-0.5, -0.1, "matches"),
        (-3.0, -0.1, "loses"), (-1.1, 0.0, "undecided"), (-0.2, 1.1, "undecided"), (0.0, 1.1, "undecided"),
    ],
)  # fmt: skip
def test_the_first_word_that_applies_is_said(low: float, high: float, word: str):
    assert decide(low, high, 1.0) == word


def test_seeds_that_agree_to_the_step_are_no_surer_than_rounding_to_it():
    """Three equal differences of one step: deviation 1 / √12, so half the interval is 4.302653 / √36 steps."""
    found = answer(question(0.4, 0.4, 0.4, step=0.4))
    half = 0.4 * 4.302653 / 6
    assert found["interval"] == pytest.approx([0.4 - half, 0.4 + half], abs=1e-6)
    assert 0.02 < found["p"] < 0.05, "nor does it pass a correction for several questions"
    assert answer(question(0.0, 0.0, 0.0, step=0.4))["word"] == "matches"
    counts = [(170, 168), (165, 163), (158, 156)]  # equal but for what floats make of them
    noisy = answer(question(*(100 * (a / 240 - b / 240) for a, b in counts), step=100 / 240))
    assert noisy["p"] > 0.001


@pytest.mark.parametrize("differences", [(), (5.0,), (5.0, 6.0)])
def test_fewer_than_three_seeds_have_no_verdict(differences: tuple[float, ...]):
    found = answer(question(*differences))
    assert found["word"] is None and found["interval"] is None and found["p"] is None
    assert mean_interval([0.7, 0.8], 0.01)["interval"] is None


def test_holm_by_hand():
    """p = 0.01, 0.04, 0.03 of three: 0.01 ≤ 0.05/3, 0.03 > 0.05/2, stop (Holm 1979)."""
    levels, adjusted = holm([0.01, 0.04, 0.03])
    assert levels == pytest.approx([0.05 / 3, 0.05 / 2, 0.05 / 2])
    assert adjusted == pytest.approx([0.03, 0.06, 0.06])


@given(st.lists(st.floats(0, 1), max_size=8))
def test_a_p_value_is_below_its_level_exactly_where_the_adjusted_one_is_below_the_error(ps: list[float]):
    levels, adjusted = holm(ps)
    for p, level, own in zip(ps, levels, adjusted, strict=True):
        assume(abs(own - 0.05) > 1e-9)
        assert (p <= level) == (own <= 0.05)
        assert own >= p


@given(st.lists(SAMPLES, min_size=1, max_size=6))
def test_corrected_intervals_leave_out_zero_exactly_where_holm_rejects(samples: list[list[float]]):
    for found in answer_all(None, [question(*sample) for sample in samples]):
        low, high = found["interval"]
        assume(abs(found["p_holm"] - 0.05) > 1e-6)
        assert (low > 0 or high < 0) == (found["p_holm"] <= 0.05)


@given(st.floats(-5, 5), st.floats(0.01, 5), st.integers(3, 12))
def test_so_many_more_seeds_decide_and_one_fewer_does_not(mean: float, spread: float, n: int):
    from scipy.stats import t

    def word(m: int) -> str:
        half = t.ppf(0.975, m - 1) * spread / m**0.5
        return decide(mean - half, mean + half, 1.0)

    assume(word(n) == "undecided")
    more = more_seeds(mean, spread, n, 1.0, 0.95)
    if more is None:
        assert word(10_000) == "undecided"
    else:
        assert word(n + more) != "undecided"
        assert more == 1 or word(n + more - 1) == "undecided"


@pytest.mark.parametrize(("seeds", "margin"), [(3, 0.0), (5, 0.0), (5, 1.0), (10, 1.0)])
def test_where_nothing_differs_the_primary_question_says_so_in_95_of_100_studies(seeds: int, margin: float):
    """2,000 studies; 5 % of them, give or take four standard errors of 0.49 points, call a difference where there is
    none; with a margin, no more than that."""
    draw = np.random.default_rng(1)
    words = [answer(question(*draw.normal(0, 1, seeds), margin=margin))["word"] for _ in range(2000)]
    wins, loses = words.count("wins") / 2000, words.count("loses") / 2000
    assert wins == pytest.approx(0.025, abs=4 * 0.0035)
    assert wins + loses <= 0.05 + 4 * 0.0049
    if margin == 0:
        assert wins + loses == pytest.approx(0.05, abs=4 * 0.0049)


def test_where_nothing_differs_any_of_four_secondary_ones_errs_in_prune_rate_5_of_100_studies():
    """600 studies of four comparisons; the standard error of 5 % is 0.89 points."""
    draw = np.random.default_rng(2)
    studies = 600
    erring = 0
    for _ in range(studies):
        shared = draw.normal(0, 1, 5)  # comparisons with one arm in common depend on each other
        found = answer_all(None, [question(*(shared + draw.normal(0, 1, 5)), margin=0.0) for _ in range(4)])
        erring += any(f["word"] in ("wins", "loses") for f in found)
    assert 0 < erring / studies <= 0.05 + 4 * 0.0089


@pytest.mark.parametrize(("seeds", "images"), [(3, 80), (3, 16), (5, 80)])
def test_accuracies_of_few_images_err_no_more_often(seeds: int, images: int):
    """Ten comparisons of shares of a few images, of which equal differences are common; 600 studies."""
    draw = np.random.default_rng(5)
    erring = 0
    for _ in range(600):
        right = draw.binomial(images, 0.7, (11, seeds))
        asked = [question(*(100 * (row - right[0]) / images), margin=0.0, step=100 / images) for row in right[1:]]
        erring += any(f["word"] in ("wins", "loses") for f in answer_all(None, asked))
    assert erring / 600 <= 0.05 + 4 * 0.0089


def test_looks_of_a_training_err_no_more_often():
    """Five comparisons of the look of lowest loss, at random among the last three; 600 studies of three seeds."""
    draw = np.random.default_rng(6)
    erring = 0
    for _ in range(600):
        best = draw.integers(0, 3, (6, 3)) * 0.25
        asked = [question(*(best[0] - row), margin=0.25, step=0.25) for row in best[1:]]
        erring += any(f["word"] in ("wins", "loses") for f in answer_all(None, asked))
    assert erring / 600 <= 0.05 + 4 * 0.0089


def test_an_interval_of_shares_lies_among_shares():
    found = mean_interval([0.9, 1.0, 0.95], 0.01)
    assert found["interval"][1] == 1.0 and found["interval"][0] < 0.9


def test_a_real_difference_is_found():
    draw = np.random.default_rng(3)
    words = [answer(question(*draw.normal(3, 1, 5)))["word"] for _ in range(500)]
    assert words.count("wins") > 450 and "loses" not in words


def test_an_interval_within_the_margin_holds_the_truth_as_often_as_it_says():
    """Truth 2 points below, margin 1: "matches" is said in at most 2.5 % of the studies."""
    draw = np.random.default_rng(4)
    words = [answer(question(*draw.normal(-2, 1, 4)))["word"] for _ in range(2000)]
    assert words.count("matches") / 2000 <= 0.025


def test_a_winning_ticket_wins_or_matches_and_beats_both_controls():
    def study(dense: list[float], mask: list[float], init: list[float]) -> bool | None:
        return winning(
            answer_all(
                question(*dense), [question(*mask, against="random-mask"), question(*init, against="random-init")]
            ),
            50.0,
        )

    good, same, bad = [5.0, 5.1, 5.2], [0.1, 0.0, -0.1], [-5.0, -5.1, -5.2]
    assert study(good, good, good) is True and study(same, good, good) is True
    assert study(bad, good, good) is False and study(good, same, good) is False and study(good, good, bad) is False
    assert winning(answer_all(question(*good), [question(*good, against="random-mask")]), 50.0) is None
    assert winning(answer_all(question(*bad), []), 50.0) is False, "whatever the controls would say"
    assert winning(answer_all(question(*good), [question(*bad, against="random-init")]), 50.0) is False
    assert study(good[:2], good, good) is None
