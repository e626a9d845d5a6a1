"""Ticket: train, prune, rewind, repeat; then write the mask and the weights it started from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from lthrun.config.base import ExperimentConfig
from lthrun.config.fields import count_steps, refuse
from lthrun.config.pruning import Pruning, Rewind, SparsitySettings
from lthrun.experiments.experiment import EXPERIMENTS, PRUNING_OPTIONS, PlannedResult, plan_levels
from lthrun.experiments.summaries import RunSummary
from lthrun.experiments.trained_run import TrainedRun
from lthrun.levels.keys import Conditions
from lthrun.levels.plan import plan_chain

REWIND_OPTIONS = ("rewind.to", "rewind.retrain", "pruning.protocol")


class TicketConfig(ExperimentConfig):
    """Train, prune, rewind, repeat: iterative magnitude pruning."""

    experiment: Literal["ticket"] = "ticket"
    pruning: Pruning = Pruning()
    rewind: Rewind = Rewind()

    rewind_key: ClassVar[str] = "rewind.to"

    @property
    def rewind_points(self) -> tuple[str, ...]:
        return (self.rewind.to,)

    @property
    def mask_settings(self) -> SparsitySettings | None:
        return self.pruning

    @property
    def protocol(self) -> str:
        return self.pruning.protocol

    @property
    def resets(self) -> Rewind:
        return self.rewind

    @model_validator(mode="after")
    def _rewinding_is_possible(self) -> TicketConfig:
        rewind, training = self.rewind, self.training
        is_late = any(count_steps(point, 1) for point in self.rewind_points)
        for point in self.rewind_points:
            if point.endswith("ep") and count_steps(point, 1) >= training.epochs:
                raise refuse(
                    self.rewind_key,
                    point,
                    "must lie before the end of level 0, which trains "
                    f"training.epochs = {training.epochs} epochs: 0ep to {training.epochs - 1}ep",
                )
        if self.pruning.protocol == "fasterai":
            for key, default in (("train", "full"), ("retrain", "weights"), ("kept", "rewind"), ("pruned", "zero")):
                if getattr(rewind, key) != default:
                    raise refuse(
                        f"rewind.{key}",
                        getattr(rewind, key),
                        "the fasterai protocol never resets the step count, always rewinds the weights, and trains "
                        f"every level in full: use {default}, or pruning.protocol: frankle",
                    )
        elif rewind.retrain != "finetune" and rewind.train == "full" and is_late and training.anneals:
            raise refuse(
                "rewind.train",
                "full",
                "a level rewound into the training would outlast the learning-rate schedule: use remaining",
            )
        if rewind.retrain == "lr" and not training.anneals:
            raise refuse(
                "rewind.retrain",
                "lr",
                "a constant learning rate cannot be rewound, this would be fine-tuning: use finetune, "
                "or training.schedule: step, cosine or one_cycle",
            )
        for key, default in (("kept", "rewind"), ("pruned", "zero")):
            if getattr(rewind, key) != default and (is_late or rewind.retrain != "weights"):
                raise refuse(
                    f"rewind.{key}",
                    getattr(rewind, key),
                    "the resets of Zhou et al. start from initialization: "
                    f"use {self.rewind_key}: 0ep and retrain: weights",
                )
        if rewind.pruned == "frozen" and self.pruning.is_structured:
            raise refuse(
                "rewind.pruned", "frozen", f"granularity {self.pruning.granularity} removes channels: use zero"
            )
        return self


def plan(config: TicketConfig, conditions: Conditions) -> Sequence[PlannedResult]:
    return plan_levels(plan_chain(config, config.pruning, config.rewind, conditions), config)


def evaluate(run: TrainedRun[Any]) -> RunSummary:
    run.write_model()
    run.write_ticket()
    return RunSummary(**run.summarize())


EXPERIMENTS.add(
    "ticket",
    "Train, prune, rewind, repeat: iterative magnitude pruning.",
    TicketConfig,
    plan=plan,
    evaluate=evaluate,
    options=PRUNING_OPTIONS + REWIND_OPTIONS,
)
