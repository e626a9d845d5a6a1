"""Prune: gradual pruning during one training, without rewinding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from lthrun.config.base import ExperimentConfig
from lthrun.config.pruning import GradualPruning, SparsitySettings
from lthrun.experiments.baseline import evaluate
from lthrun.experiments.experiment import EXPERIMENTS, PRUNING_OPTIONS, PlannedResult, plan_levels
from lthrun.levels.keys import Conditions
from lthrun.levels.plan import plan_gradual


class PruneConfig(ExperimentConfig):
    """Prune during one training, without rewinding: the practitioner's alternative to the ticket."""

    experiment: Literal["prune"] = "prune"
    pruning: GradualPruning = GradualPruning()

    @property
    def mask_settings(self) -> SparsitySettings:
        return self.pruning


def plan(config: PruneConfig, conditions: Conditions) -> Sequence[PlannedResult]:
    return plan_levels([plan_gradual(config, config.pruning, conditions)], config)


EXPERIMENTS.add(
    "prune",
    "Prune gradually during one training, without rewinding: the practitioner's alternative.",
    PruneConfig,
    plan=plan,
    evaluate=evaluate,
    options=PRUNING_OPTIONS,
)
