"""fasterai's lottery-ticket tutorial: its four experiments, the figures on its page, and what it concludes.

The configs are those of configs/tutorial. Under the protocol `fasterai` a ticket's levels are one continued training;
`fasterai-tutorial-frankle` runs the same under the protocol `frankle`.
"""

from __future__ import annotations

from functools import partial

from lthrun.analysis.intervals import wilson_interval
from lthrun.reproductions.findings import Findings
from lthrun.reproductions.measures import accuracy_gain, average, mean_accuracy
from lthrun.reproductions.reproduction import REPRODUCTIONS, Claim, Measurement, Part, Rule, Scale
from lthrun.reproductions.settings import read_settings

IMAGES = 1_478
PUBLISHED = {"baseline": 63.3, "ticket": 82.7, "rewind": 85.5, "supermask": 66.6}
BASELINE, TICKET, REWIND = ("baseline", None), ("ticket", 50.0), ("rewind", 50.0)


def near(percent: float) -> Rule:
    """Within the 95 % interval that the page's figure has over its images."""
    low, high = wilson_interval(round(percent / 100 * IMAGES), IMAGES)
    return Rule(round(100 * low, 1), round(100 * high, 1))


def mask_accuracy(findings: Findings) -> Measurement | None:
    """Percent, of the mask on untrained weights."""
    return average([100 * result.accuracy for result in findings.supermasks("supermask")], 100 / findings.n_valid)


def gain_over_random_masks(findings: Findings) -> Measurement | None:
    """Points of balanced accuracy, of the mask over the mean of random masks."""
    results = findings.supermasks("supermask")
    gains = [100 * (r.balanced_accuracy - r.random.balanced_accuracy.mean) for r in results]
    return average(gains, 100 / findings.n_valid)


FIGURES = (
    ("The dense network, trained for 5 epochs.", "baseline", mean_accuracy(BASELINE)),
    ("The ticket at 50 %, weights back to initialization.", "ticket", mean_accuracy(TICKET)),
    ("The ticket at 50 %, weights back to epoch 1.", "rewind", mean_accuracy(REWIND)),
    ("The ticket's mask on its initial weights, never trained.", "supermask", mask_accuracy),
)
CLAIMS = (
    *(
        Claim(f"Accuracy: {text[0].lower()}{text[1:]}", f"{PUBLISHED[name]} (n = {IMAGES:,}, one seed)", "%", measure,
              near(PUBLISHED[name]))
        for text, name, measure in FIGURES
    ),
    Claim("The ticket trains better than the dense network.", "+19.4", "points", accuracy_gain(TICKET, BASELINE),
          Rule(low=0)),
    Claim("Back to epoch 1 is better than back to initialization.", "+2.8", "points", accuracy_gain(REWIND, TICKET),
          Rule(low=0)),
    Claim("The mask alone is better than random: than random masks, in balanced accuracy.", "better", "points",
          gain_over_random_masks, Rule(low=0)),
)  # fmt: skip


def list_parts(protocol: str, scale: Scale) -> list[Part]:
    parts = []
    for seed in range(scale.seeds):
        for name in PUBLISHED:
            settings = read_settings(f"tutorial/{name}") | {"seed": seed}
            settings |= {} if name == "baseline" else {"pruning.protocol": protocol}
            settings |= {"training.epochs": 2} if scale.is_quick else {}
            parts.append(Part(name, "ticket" if name == "rewind" else name, settings))
    return parts


for _name, _protocol in (("fasterai-tutorial", "fasterai"), ("fasterai-tutorial-frankle", "frankle")):
    REPRODUCTIONS.add(
        _name,
        f"The four experiments of fasterai's lottery-ticket tutorial, under the protocol {_protocol}.",
        partial(list_parts, _protocol),
        source="fasterai, tutorial on the Lottery Ticket Hypothesis (docs/results.md)",
        claims=CLAIMS,
        seeds=5,
        quick="2 epochs of each training instead of 5",
        departures=(
            "The page has one seed and no interval.",
            "The ticket trains four times as long as the baseline, there and here.",
        ),
    )
