"""The negative control of lthrun itself: the verdict on arms that do not differ.

Dense networks of many seeds are trained. Two of them stand for one seed of a study of `dense` against `dense`, and the
share of studies that say "wins" or "loses" is compared with the promised one. The margin is 0, so that no study can say
"matches" instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lthrun.analysis.intervals import CONFIDENCE, wilson_interval
from lthrun.analysis.seed_means import estimate
from lthrun.analysis.verdict import choose_word
from lthrun.reproductions.findings import Findings
from lthrun.reproductions.measures import Measure, average, final_accuracy
from lthrun.reproductions.reproduction import REPRODUCTIONS, Claim, Measurement, Part, Rule, Scale
from lthrun.reproductions.settings import read_settings

if TYPE_CHECKING:
    import numpy as np

DRAWS = 2_000
DENSE = ("dense", None)


def says_something(differences: np.ndarray, image: float) -> bool:
    """Whether a study with these paired differences, in points, says wins or loses."""
    interval = estimate(differences.tolist(), image).interval(CONFIDENCE)
    return choose_word(interval, 0.0) in ("wins", "loses")


def error_rate(seeds: int) -> Measure:
    """Percent of studies of so many seeds that are wrong, of studies with networks drawn at random.

    The interval covers the drawing of studies, and the networks are as they are. n counts studies.
    """

    def measure(findings: Findings) -> Measurement | None:
        import numpy as np

        accuracies = np.array([final_accuracy(result) for result in findings.select(DENSE)])
        if len(accuracies) < 2 * seeds:
            return None
        rng, image = np.random.default_rng(0), 100 / findings.n_final
        drawn = (rng.choice(accuracies, (2, seeds), replace=False) for _ in range(DRAWS))
        wrong = sum(says_something(one - other, image) for one, other in drawn)
        low, high = wilson_interval(wrong, DRAWS)
        return Measurement(100 * wrong / DRAWS, (100 * low, 100 * high), DRAWS)

    return measure


def mean_difference(findings: Findings) -> Measurement | None:
    """Points, of each second network and the one before it. n counts pairs."""
    accuracies = [final_accuracy(result) for result in findings.select(DENSE)]
    pairs = zip(accuracies[::2], accuracies[1::2], strict=False)
    return average([one - other for one, other in pairs], 100 / findings.n_final)


CLAIMS = (
    Claim(
        "Dense networks of other seeds do not differ: the mean difference of pairs is 0.",
        "0",
        "points",
        mean_difference,
        Rule(-0.1, 0.1),
    ),
    *(
        Claim(
            f"Of studies with {seeds} seeds in which no arm differs, 5 % say wins or loses.",
            "5 (docs/protocol.md)",
            "%",
            error_rate(seeds),
            Rule(high=7.5),
        )
        for seeds in (3, 5, 10)
    ),
)


@REPRODUCTIONS.register(
    "The negative control: how often the verdict errs where no arm differs, with LeNet-300-100 on MNIST.",
    "null",
    source="lthrun, docs/protocol.md: how often the verdict errs",
    claims=CLAIMS,
    seeds=80,
    quick_seeds=20,
    least_seeds=6,
    quick="1 epoch of each training instead of 5",
    departures=("Studies are drawn from the networks at random, each network at most once in a study.",),
)
def null(scale: Scale) -> list[Part]:
    study = {
        "training.epochs": 1 if scale.is_quick else 5,
        "compare.arms": ["dense"],
        "compare.seeds": scale.seeds,
    }
    return [Part("study", "compare", read_settings("recipes/lenet-mnist") | study)]
