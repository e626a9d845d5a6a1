"""Frankle & Carbin 2019, "The Lottery Ticket Hypothesis", section 2: LeNet-300-100 on MNIST.

Trained as in configs/recipes/lenet-mnist.yaml, with the hyperparameters of the paper's figure 2. A level prunes 20 % of
what remains of each layer and 10 % of the output layer, so the study's sparsities are 1 - 0.8^k, those of the hidden
layers. The paper counts all weights: 51.3 % of them remain where 0.8^3 of the hidden layers do.
"""

from __future__ import annotations

from lthrun.reproductions.measures import accuracy_gain, stopped_accuracy, times_sooner
from lthrun.reproductions.reproduction import REPRODUCTIONS, Claim, Part, Rule, Scale
from lthrun.reproductions.settings import read_settings

LEVELS = {51.3: 3, 21.1: 7, 13.5: 9, 7.0: 12, 3.6: 15, 1.8: 18}
"""By percent of all weights that remain, the level."""
SPARSITIES = {remaining: round(100 - 100 * 0.8**level, 10) for remaining, level in LEVELS.items()}
SEEDS, QUICK_SEEDS = 10, 3
DENSE = ("dense", None)


def ticket(remaining: float) -> tuple[str, float]:
    return "ticket", SPARSITIES[remaining]


def redrawn(remaining: float) -> tuple[str, float]:
    return "random-init", SPARSITIES[remaining]


CLAIMS = (
    Claim(
        "With 51.3 % of the weights a ticket learns faster than the dense network: its validation loss is lowest "
        "sooner.",
        "sooner (fig. 3)",
        "×",
        times_sooner(ticket(51.3), DENSE),
        Rule(low=1),
    ),
    Claim(
        "With 51.3 % it reaches a higher test accuracy at early stopping.",
        "higher (fig. 3, 4a)",
        "points",
        accuracy_gain(ticket(51.3), DENSE, stopped_accuracy),
        Rule(low=0),
    ),
    Claim(
        "With 21.1 % it learns faster still than with 51.3 %.",
        "sooner (fig. 3)",
        "×",
        times_sooner(ticket(21.1), ticket(51.3)),
        Rule(low=1),
    ),
    Claim(
        "With 21.1 % it stops earlier than the dense network.",
        "38 % earlier: 1.61 × (fig. 4a)",
        "×",
        times_sooner(ticket(21.1), DENSE),
        Rule(low=1),
    ),
    Claim(
        "With 13.5 % its test accuracy at early stopping is more than 0.3 points above that of the dense network.",
        "> 0.3 (fig. 4a)",
        "points",
        accuracy_gain(ticket(13.5), DENSE, stopped_accuracy),
        Rule(low=0.3),
    ),
    Claim(
        "With 13.5 % its test accuracy after the last iteration is higher than that of the dense network.",
        "up to 0.35 (fig. 4b)",
        "points",
        accuracy_gain(ticket(13.5), DENSE),
        Rule(low=0),
    ),
    Claim(
        "With 3.6 % it is back at the accuracy of the dense network at early stopping.",
        "0 (fig. 4a)",
        "points",
        accuracy_gain(ticket(3.6), DENSE, stopped_accuracy),
        Rule(-0.3, 0.3),
    ),
    Claim(
        "With 3.6 % it is back at the speed of the dense network.",
        "1 × (fig. 4a)",
        "×",
        times_sooner(ticket(3.6), DENSE),
        Rule(0.8, 1.25),
    ),
    Claim(
        "With 21.1 % it reaches its lowest validation loss sooner than its mask on weights that are initialized again.",
        "2.51 × (section 2)",
        "×",
        times_sooner(ticket(21.1), redrawn(21.1)),
        Rule(low=1),
    ),
    Claim(
        "With 21.1 % it is more accurate than its mask on weights that are initialized again, at early stopping.",
        "0.5 (section 2)",
        "points",
        accuracy_gain(ticket(21.1), redrawn(21.1), stopped_accuracy),
        Rule(low=0),
    ),
    Claim(
        "Initialized again, the network learns ever slower: with 21.1 % slower than with 51.3 %.",
        "later (fig. 3, 4a)",
        "×",
        times_sooner(redrawn(21.1), redrawn(51.3)),
        Rule(high=1),
    ),
    Claim(
        "Initialized again, it loses test accuracy after little pruning: with 21.1 % against the dense network.",
        "lower (fig. 4a)",
        "points",
        accuracy_gain(redrawn(21.1), DENSE, stopped_accuracy),
        Rule(high=0),
    ),
)


@REPRODUCTIONS.register(
    "The winning tickets of LeNet-300-100 on MNIST (Frankle & Carbin 2019, section 2).",
    "frankle-carbin-2019-lenet",
    source="Frankle & Carbin 2019, The Lottery Ticket Hypothesis: Finding Sparse, Trainable Neural Networks, section 2",
    claims=CLAIMS,
    seeds=SEEDS,
    quick_seeds=QUICK_SEEDS,
    quick="4,580 iterations (5 epochs) of each training instead of 50,380",
    departures=(
        "Trainings are counted in epochs: 55 of them are 50,380 iterations, where the paper has 50,000.",
        "The incomplete last batch of an epoch is dropped: 916 steps per epoch.",
        "Lowest validation loss and early stopping are of the 5,000 validation images, every 100 iterations.",
    ),
)
def frankle_carbin_2019_lenet(scale: Scale) -> list[Part]:
    planned = QUICK_SEEDS if scale.is_quick else SEEDS
    study = {
        "compare.seeds": scale.seeds,
        "compare.most_seeds": max(planned, scale.seeds),  # so that a report of fewer seeds is a planned look
        "compare.sparsities": list(SPARSITIES.values()),
        **({"training.epochs": 5} if scale.is_quick else {}),
    }
    return [Part("study", "compare", read_settings("recipes/lenet-mnist") | study)]
