"""Renda, Frankle & Carbin 2020, "Comparing Rewinding and Fine-tuning": ResNet-20 on CIFAR-10, three ways to retrain.

Trained as in configs/recipes/resnet20-cifar10.yaml. A level prunes 20 % of the weights that remain, ranked globally, so
density 0.512 is level 3, 0.21 level 7, 0.107 level 10. What goes back, goes back to epoch 10.
"""

from __future__ import annotations

from lthrun.reproductions.measures import accuracy_gain, mean_accuracy
from lthrun.reproductions.reproduction import REPRODUCTIONS, Claim, Part, Rule, Scale
from lthrun.reproductions.settings import read_settings

DENSE = 91.73
PUBLISHED = {  # by density: weights, learning rate, neither
    0.512: (91.94, 92.01, 91.34),
    0.21: (91.68, 91.75, 90.60),
    0.107: (90.91, 90.76, 89.78),
}
LEVELS = {0.512: 3, 0.21: 7, 0.107: 10}
SPARSITIES = {level: round(100 - 100 * 0.8**level, 10) for level in range(1, 11)}
RETRAIN = ("weights", "lr", "finetune")
NAMES = {"weights": "rewinding the weights", "lr": "rewinding the learning rate", "finetune": "fine-tuning"}


def gain(density: float, one: str, other: str, rule: Rule, verb: str) -> Claim:
    """How much more accurate one way to retrain is than the other."""
    figures = dict(zip(RETRAIN, PUBLISHED[density], strict=True))
    at = SPARSITIES[LEVELS[density]]
    return Claim(
        f"At density {density:g} {NAMES[one]} {verb} {NAMES[other]}.",
        f"{figures[one] - figures[other]:+.2f}".replace("-", "−"),
        "points",
        accuracy_gain((one, at), (other, at)),
        rule,
    )


CLAIMS = (
    Claim(
        "The dense network reaches 91.73 %.", "91.73 (sd 0.23, n = 246)", "%", mean_accuracy(("weights", None)),
        Rule(DENSE - 0.5, DENSE + 0.5),
    ),
    *(gain(density, "weights", "finetune", Rule(low=0), "beats") for density in LEVELS),
    *(gain(density, "lr", "finetune", Rule(low=0), "beats") for density in LEVELS),
    *(gain(density, "lr", "weights", Rule(low=-0.5), "is as good as") for density in LEVELS),
)  # fmt: skip


@REPRODUCTIONS.register(
    "Three ways to retrain a pruned ResNet-20 on CIFAR-10 (Renda et al. 2020).",
    "renda-2020-resnet20",
    source="Renda, Frankle & Carbin 2020, Comparing Rewinding and Fine-tuning in Neural Network Pruning",
    claims=CLAIMS,
    seeds=3,
    quick="1 epoch of each training instead of 182, one level for each density, rewound to step 100",
    cost="Without --quick this needs a GPU: 31 trainings of 182 epochs for each seed.",
    departures=(
        "5,000 of the 50,000 training images are held out for validation.",
        "Weights and learning rate go back to epoch 10, and training takes the epochs that remain.",
    ),
)
def renda_2020_resnet20(scale: Scale) -> list[Part]:
    wanted = LEVELS.values() if scale.is_quick else SPARSITIES
    recipe = read_settings("recipes/resnet20-cifar10") | {
        "pruning.context": "global",
        "pruning.schedule": "custom",
        "pruning.sparsities": [SPARSITIES[level] for level in wanted],
        "rewind.to": "100it" if scale.is_quick else "10ep",
        "rewind.train": "remaining",
        **({"training.epochs": 1} if scale.is_quick else {}),
    }
    return [
        Part(retrain, "ticket", recipe | {"seed": seed, "rewind.retrain": retrain})
        for seed in range(scale.seeds)
        for retrain in RETRAIN
    ]
