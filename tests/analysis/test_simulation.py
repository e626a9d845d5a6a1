"""The simulated studies: their words are the verdict's, and the promises hold in a small form."""

from __future__ import annotations

import numpy as np
import pytest

from lthrun.analysis.seed_means import estimate
from lthrun.analysis.verdict import choose_word
from tests.analysis import check_verdict
from tests.analysis.simulation import (
    BEYOND_MARGIN,
    DISTRIBUTIONS,
    NORMAL,
    PRACTICES,
    Practice,
    simulate,
    simulate_collapse,
    simulate_differences,
)

ONE, PLANNED, EVERY, UNPLANNED, _ = PRACTICES
STUDIES = 20_000


@pytest.mark.parametrize("practice", PRACTICES, ids=lambda practice: practice.name)
def test_the_words_are_those_of_the_verdict(practice: Practice):
    """Study by study: the first look with a word, from its own interval."""
    draws = np.random.default_rng(0).normal(0.4, 1.29, (100, practice.seeds[-1]))
    words, seeds = [], 0
    for sample in draws.tolist():
        for n, level in zip(practice.seeds, practice.levels, strict=True):
            word = choose_word(estimate(sample[:n], 1e-9).interval(1 - level), 1.0)
            if word != "undecided":
                break
        words.append(word)
        seeds += n
    rates = simulate(practice, draws)
    for word in ("wins", "matches", "loses", "undecided"):
        assert getattr(rates, word) == pytest.approx(words.count(word) / 100)
    assert rates.mean_seeds == pytest.approx(seeds / 100)


@pytest.mark.parametrize("distribution", [DISTRIBUTIONS[0], DISTRIBUTIONS[2]], ids=lambda row: row.name)
@pytest.mark.parametrize("practice", [ONE, PLANNED, EVERY], ids=lambda practice: practice.name)
def test_planned_looks_keep_the_promise(practice: Practice, distribution):
    """20,000 studies; the standard error of 5 % is 0.15 points, of 2.5 % 0.11."""
    none, beyond = simulate_differences(practice, distribution, 1.29, (0, BEYOND_MARGIN), STUDIES, 0)
    assert none.excludes_zero == pytest.approx(0.05, abs=0.01 + 3 * 0.0015)
    assert none.wins + none.loses <= none.excludes_zero
    assert beyond.matches <= 0.025 + 0.005


def test_unplanned_looks_break_it():
    (none,) = simulate_differences(UNPLANNED, NORMAL, 1.29, (0,), STUDIES, 0)
    assert none.wins + none.loses > 0.09


def test_looks_save_seeds_where_something_differs():
    (rates,) = simulate_differences(PLANNED, NORMAL, 1.29, (2.0,), STUDIES, 0)
    assert rates.wins > 0.99 and rates.mean_seeds < 10


def test_a_rare_collapse_is_often_called_a_match():
    """What no test can see: the mean is 1.5 points below 0, beyond the margin, and many studies call it a match."""
    assert simulate_collapse(ONE, 0.5, STUDIES, 0).matches > 0.3


def test_differences_have_mean_0_and_deviation_1():
    for distribution in DISTRIBUTIONS:
        values = distribution.draw(np.random.default_rng(0), (1000, 1000))
        assert values.mean() == pytest.approx(0, abs=0.01) and values.std() == pytest.approx(1, abs=0.03)


def test_the_tables_are_markdown(capsys: pytest.CaptureFixture[str]):
    check_verdict.main(200)
    lines = capsys.readouterr().out.splitlines()
    headings = [i for i, line in enumerate(lines) if set(line) == set("| -")]
    assert len(headings) == 5
    for i in headings:
        assert lines[i].count("---") == lines[i - 1].count("|") - 1 == lines[i + 1].count("|") - 1
