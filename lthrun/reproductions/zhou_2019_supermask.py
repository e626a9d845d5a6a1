"""Zhou et al. 2019, "Deconstructing Lottery Tickets", section 5: supermasks of LeNet-300-100 on MNIST.

Trained as in configs/recipes/lenet-mnist.yaml: large_final shares its levels with frankle-carbin-2019-lenet. Of the
masks of a ticket's levels the most accurate counts.
"""

from __future__ import annotations

from lthrun.experiments.study_config import plan_sparsities
from lthrun.reproductions.findings import Findings
from lthrun.reproductions.frankle_carbin_2019_lenet import SPARSITIES
from lthrun.reproductions.measures import Measure, average
from lthrun.reproductions.reproduction import REPRODUCTIONS, Claim, Measurement, Part, Rule, Scale
from lthrun.reproductions.settings import Settings, leave_out, read_settings

LEVELS = 12
"""Down to 7 % of the weights."""
MASKS: dict[str, Settings] = {
    "large-final": {"pruning.criterion": "large_final"},
    "same-sign": {"pruning.criterion": "large_final_same_sign", "supermask.weights": "sign_constant"},
}


def best_accuracy(part: str) -> Measure:
    """Percent, of the most accurate level."""

    def measure(findings: Findings) -> Measurement | None:
        results = findings.supermasks(part)
        best = [max([result.accuracy, *(level.accuracy for level in result.levels)]) for result in results]
        return average([100 * accuracy for accuracy in best], 100 / findings.n_valid)

    return measure


def random_accuracy(part: str) -> Measure:
    """Percent: the mean of the random masks with the per-layer sparsities of the last level."""

    def measure(findings: Findings) -> Measurement | None:
        accuracies = [100 * result.random.accuracy.mean for result in findings.supermasks(part)]
        return average(accuracies, 100 / findings.n_valid)

    return measure


CLAIMS = (
    Claim(
        "The mask of large_final on its initial weights, never trained, is far better than chance (10 %).",
        "far better (section 5)",
        "%",
        best_accuracy("large-final"),
        Rule(low=30),
    ),
    Claim(
        "The mask of large_final_same_sign on signed constants reaches 86 %.",
        "86 (section 5)",
        "%",
        best_accuracy("same-sign"),
        Rule(81, 91),
    ),
    Claim(
        "A mask that is learned with Bernoulli draws, on signed constants, reaches 95 %.",
        "95 (as cited elsewhere)",
        "%",
        best_accuracy("bernoulli"),
        Rule(93, 97),
    ),
    Claim(
        "Random masks with the same sparsities are near chance.",
        "near 10 (section 5)",
        "%",
        random_accuracy("large-final"),
        Rule(5, 15),
    ),
)


@REPRODUCTIONS.register(
    "Supermasks of LeNet-300-100 on MNIST (Zhou et al. 2019, section 5).",
    "zhou-2019-supermask",
    source="Zhou, Lan, Liu & Yosinski 2019, Deconstructing Lottery Tickets: Zeros, Signs, and the Supermask, section 5",
    claims=CLAIMS,
    seeds=5,
    quick="5 epochs of each training instead of 55",
    departures=(
        "Accuracies of supermasks are of the validation images. Of a ticket's levels the best counts, which is "
        "optimistic by less than its interval.",
    ),
)
def zhou_2019_supermask(scale: Scale) -> list[Part]:
    recipe = leave_out(read_settings("recipes/lenet-mnist"), "compare")
    recipe |= {"training.epochs": 5} if scale.is_quick else {}
    ticket = {
        "pruning.schedule": "custom",
        "pruning.sparsities": plan_sparsities(tuple(SPARSITIES.values()), 20.0)[:LEVELS],
    }
    learned = leave_out(recipe, "pruning", "training") | {
        "training.epochs": recipe["training.epochs"],
        "training.batch_size": recipe["training.batch_size"],
        "supermask.method": "bernoulli",
    }
    parts = []
    for seed in range(scale.seeds):
        for name, settings in MASKS.items():
            parts.append(Part(name, "supermask", recipe | ticket | settings | {"seed": seed}))
        parts.append(Part("bernoulli", "supermask", learned | {"seed": seed}))
    return parts
