"""Baseline: the dense network, which is level 0 of every ticket."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from lthrun.config.base import ExperimentConfig
from lthrun.experiments.experiment import EXPERIMENTS, PlannedResult, plan_levels
from lthrun.experiments.summaries import RunSummary
from lthrun.experiments.trained_run import TrainedRun
from lthrun.levels.keys import Conditions
from lthrun.levels.plan import plan_dense


class BaselineConfig(ExperimentConfig):
    """Train the dense network."""

    experiment: Literal["baseline"] = "baseline"


def plan(config: BaselineConfig, conditions: Conditions) -> Sequence[PlannedResult]:
    return plan_levels([plan_dense(config, conditions)], config)


def evaluate(run: TrainedRun[Any]) -> RunSummary:
    run.write_model()
    return RunSummary(**run.summarize())


EXPERIMENTS.add(
    "baseline",
    "Train the dense network, which is also level 0 of every ticket.",
    BaselineConfig,
    plan=plan,
    evaluate=evaluate,
)
