"""Learning-rate schedules, as pure functions of the training step: a level rewound to step k sees the rate of step k.

A new one is one registered function. It gives the factor that multiplies `training.learning_rate`, at a progress from
0 to 1 of the schedule's span. No library's scheduler fits: they count calls, while training here rewinds, stops and
resumes, so the rate must follow from the step alone.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lthrun.registry import Entry, Table

if TYPE_CHECKING:
    from lthrun.config.sections import Training

LEARNING_RATES = Table("learning-rates", "training.schedule", Entry)


@LEARNING_RATES.register("The same rate throughout.")
def constant(progress: float, training: Training) -> float:
    return 1.0


@LEARNING_RATES.register(
    "Times `gamma` at each of `milestones`, which are percents of the training.", uses=("milestones", "gamma")
)
def step(progress: float, training: Training) -> float:
    return float(training.gamma ** sum(100 * progress >= milestone for milestone in training.milestones))


@LEARNING_RATES.register(
    "Half a cosine down to `final` (Loshchilov & Hutter 2017, eq. 5, without restarts).", uses=("final",)
)
def cosine(progress: float, training: Training) -> float:
    return training.final + (1 - training.final) * (1 + math.cos(math.pi * progress)) / 2


@LEARNING_RATES.register(
    "Up from a 25th in the first quarter, then down to `final`, by cosines (Smith & Topin 2018, as in fastai).",
    uses=("final",),
)
def one_cycle(progress: float, training: Training) -> float:
    low = 1 / 25
    if progress < 0.25:
        return low + (1 - low) * (1 - math.cos(math.pi * progress / 0.25)) / 2
    return training.final + (1 - training.final) * (1 + math.cos(math.pi * (progress - 0.25) / 0.75)) / 2


def learning_rate_at(training: Training, step: int, span: int, epoch_steps: int) -> float:
    """The learning rate of a training step.

    Args:
        step: counted from initialization.
        span: the steps that the schedule takes; after them the rate stays where the schedule ended.
        epoch_steps: the steps of an epoch, the unit of `training.warmup`.
    """
    warmup_steps = training.warmup_steps(epoch_steps)
    warmup = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
    factor: float = LEARNING_RATES[training.schedule](min(1.0, step / span), training)
    return training.learning_rate * warmup * factor
