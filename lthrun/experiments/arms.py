"""The arms of a study: what is trained for one seed, and at which level each sparsity is read.

Arms with one seed share split, initialization and data order, and every level they have in common, so their differences
are paired.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lthrun.config.base import ExperimentConfig
from lthrun.experiments.arm_settings import TICKET, Arm
from lthrun.experiments.experiment import PlannedResult
from lthrun.experiments.study_config import CompareConfig
from lthrun.levels.keys import Conditions
from lthrun.levels.plan import Level, plan_chain, plan_control, plan_dense, plan_gradual, plan_in_order


@dataclass(frozen=True)
class PlannedArmResult(PlannedResult):
    """The result of an arm for a seed. `sparsity` is the study's, in percent; None for an arm compared at all of
    them."""

    arm: str
    seed: int
    sparsity: float | None

    @property
    def group(self) -> str:
        return self.arm


Results = Iterator[tuple[float | None, ExperimentConfig, Level]]


def plan_arms(study: CompareConfig, conditions: Conditions) -> list[PlannedArmResult]:
    """Every result of a study, seed by seed and arm by arm."""
    return [
        PlannedArmResult(describe_result(arm.name, seed, sparsity), config, level, arm.name, seed, sparsity)
        for seed in study.seeds
        for arm in study.compare.arms
        for sparsity, config, level in plan_arm(study, arm, seed, conditions.at_split(study.split_seed(seed)))
    ]


def describe_result(arm: str, seed: int, sparsity: float | None) -> str:
    return f"{arm}, seed {seed}" + (f", {sparsity:g} %" if sparsity else "")


def plan_arm(study: CompareConfig, arm: Arm, seed: int, conditions: Conditions) -> Results:
    """Sparsity, config and level of each result of an arm for one seed."""
    for sparsity, config, level in plan_schedule(study, arm, seed, conditions):
        if arm.control:
            level = plan_control(level, arm.control, config, conditions)
        if arm.order:
            level = plan_in_order(level, arm.order, config, conditions)
        yield sparsity, config, level


def plan_schedule(study: CompareConfig, arm: Arm, seed: int, conditions: Conditions) -> Results:
    """The same before anything is replaced: by when the arm is pruned."""
    sparsities = study.compare.sparsities
    if arm.schedule == "dense":
        baseline = study.baseline(seed)
        yield None, baseline, plan_dense(baseline, conditions)
    elif arm.schedule == "dense_budget":
        for sparsity, _, level in plan_schedule(study, TICKET, seed, conditions):
            baseline = study.baseline(seed, study.training.epochs * (level.index + 1))
            yield sparsity, baseline, plan_dense(baseline, conditions)
    elif arm.schedule == "chain":
        config = study.ticket(seed, arm)
        for level in plan_chain(config, config.pruning, config.rewind, conditions):
            if level.sparsity in sparsities:
                yield level.sparsity, config, level
    elif arm.schedule == "one_shot":
        for sparsity in sparsities:
            config = study.ticket(seed, arm, (sparsity,))
            yield sparsity, config, plan_chain(config, config.pruning, config.rewind, conditions)[-1]
    else:
        for sparsity in sparsities:
            gradual = study.prune(seed, arm, sparsity)
            yield sparsity, gradual, plan_gradual(gradual, gradual.pruning, conditions)
