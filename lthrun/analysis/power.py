"""What a study can answer: the chance of each word where the truth is known, before anything is trained.

Many studies are simulated at once. Each draws one difference per seed and is answered at its looks until it has a word,
as a study is. The draws are fixed: equal plans have equal chances.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from lthrun.analysis.seed_means import FEWEST_SEEDS
from lthrun.analysis.sequential import ERROR, nominal_levels
from lthrun.records import Record

if TYPE_CHECKING:
    import numpy as np

STUDIES = 4000
TRUTHS = (0.0, 0.5, 1.0, 2.0)
"""True differences, in points of accuracy."""


class WordChances(Record):
    """The chances (0 to 1) of a study's four words, at a true difference and a deviation of the differences."""

    difference: float
    """In points."""
    deviation: float
    """Between seeds, in points."""
    wins: float
    matches: float
    loses: float
    undecided: float
    mean_seeds: float
    """Per arm, until there is a word or the most seeds are reached."""


class Rates(NamedTuple):
    """Shares of studies (0 to 1) by their first word, those with an interval that excludes 0, and the mean seeds."""

    wins: float
    matches: float
    loses: float
    undecided: float
    excludes_zero: float
    mean_seeds: float


def foresee_words(
    seeds: Sequence[int], most_seeds: int, deviations: Sequence[float], margin: float
) -> list[WordChances]:
    """The chances for every deviation and true difference, with looks at `seeds` of at most `most_seeds` seeds.

    None where no look has three seeds.
    """
    import numpy as np

    looks = [n for n in seeds if n >= FEWEST_SEEDS]
    if not looks:
        return []
    levels = nominal_levels(tuple(n / most_seeds for n in looks), ERROR)
    draws = np.random.default_rng(0).standard_normal((STUDIES, looks[-1]))
    rows = []
    for deviation in deviations:
        for truth in TRUTHS:
            rates = simulate_studies(looks, levels, truth + deviation * draws, margin)
            chances = {word: getattr(rates, word) for word in ("wins", "matches", "loses", "undecided", "mean_seeds")}
            rows.append(WordChances(difference=truth, deviation=deviation, **chances))
    return rows


def simulate_studies(
    seeds: Sequence[int], levels: Sequence[float], differences: np.ndarray, margin: float, step: float = 1e-9
) -> Rates:
    """The rates over studies that are answered at `seeds` with intervals of these two-sided levels.

    `differences` has the shape [studies, seeds].
    """
    import numpy as np
    from scipy.special import stdtrit

    studies = len(differences)
    sums, squares = differences.cumsum(1), (differences**2).cumsum(1)
    is_open, is_different = np.ones(studies, bool), np.zeros(studies, bool)
    counts = dict.fromkeys(("wins", "matches", "loses"), 0)
    trained, before = 0, 0
    for n, level in zip(seeds, levels, strict=True):
        trained, before = trained + (n - before) * int(is_open.sum()), n
        mean = sums[:, n - 1] / n
        variance = np.maximum((squares[:, n - 1] - n * mean**2) / (n - 1), step**2 / 12)
        half = float(stdtrit(n - 1, 1 - level / 2)) * np.sqrt(variance / n)
        wins, loses = mean > half, mean < -half
        is_different |= wins | loses
        for word, applies in (("wins", wins), ("matches", np.abs(mean) + half <= margin), ("loses", loses)):
            counts[word] += int((is_open & applies).sum())
            is_open &= ~applies
    return Rates(
        counts["wins"] / studies,
        counts["matches"] / studies,
        counts["loses"] / studies,
        float(is_open.mean()),
        float(is_different.mean()),
        trained / studies,
    )
