"""A run: an experiment with one set of settings, on this machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from lthrun.config.base import ExperimentConfig
from lthrun.events import Emit
from lthrun.executors.tasks import LevelTask, complete_graph
from lthrun.experiments.experiment import EXPERIMENTS, Experiment, PlannedResult
from lthrun.levels.context import RunContext, prepare
from lthrun.levels.plan import Level


@dataclass(frozen=True)
class ModelSize:
    """Bytes of all parameters and buffers, and of the masks."""

    state: int
    masks: int


@dataclass(frozen=True)
class Run:
    experiment: Experiment
    context: RunContext
    planned: Sequence[PlannedResult]

    @property
    def config(self) -> ExperimentConfig:
        return self.context.config

    @property
    def levels(self) -> list[Level]:
        return [result.level for result in self.planned]

    @property
    def name(self) -> str:
        """The name of its directory: equal settings have equal names, and a study keeps its name when it grows."""
        level = self.planned[0 if self.experiment.is_study else -1].level
        facts = [self.config.experiment, level.key, self.config.identity_extras]
        settings = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:8]
        return f"{self.config.experiment}-s{self.config.seed}-{settings}"

    @cached_property
    def tasks(self) -> list[LevelTask]:
        """Its levels and those that they need."""
        conditions = self.context.conditions
        return complete_graph(
            LevelTask(p.config, p.level, p.about, conditions.at_split(p.config.data.split_seed)) for p in self.planned
        )

    @cached_property
    def model_size(self) -> ModelSize:
        """The size of its model, without allocating it."""
        from lthrun.models import build_meta_model
        from lthrun.sparsity.layer_selection import select_prunable

        config, store = self.config, self.context.store
        model = build_meta_model(config.model.name, len(store.classes), store.channels, config.data.image_size)
        sizes = {name: t.numel() * t.element_size() for name, t in model.state_dict().items()}
        names = select_prunable(model, config.layer_selection)
        return ModelSize(sum(sizes.values()), sum(sizes[name] for name in names) // 4)

    @property
    def epochs(self) -> int:
        """How many epochs its levels train, those of replays left out."""
        return sum(level.epochs(self.context.conditions.epoch_steps) for level in self.levels)


def prepare_run(config: ExperimentConfig, emit: Emit) -> Run:
    """The run of a config on this machine.

    Raises:
        UserError: data, device or settings do not allow it; the message says what would.
    """
    context = prepare(config, emit)
    experiment = EXPERIMENTS[config.experiment]
    return Run(experiment, context, experiment.plan(context.config, context.conditions))
