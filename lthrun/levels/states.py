"""Parameters and buffers of a network: as initialized, at the rewind point, at the start and at the end of a level."""

from __future__ import annotations

import copy
from functools import lru_cache

from torch import nn

from lthrun.config.base import ExperimentConfig
from lthrun.levels.plan import Level
from lthrun.models import MODELS, ModelEntry, build_model
from lthrun.rng import make_generator
from lthrun.sparsity import masks as masking
from lthrun.sparsity import supermasks
from lthrun.sparsity.layer_selection import select_prunable
from lthrun.sparsity.masks import Tensors
from lthrun.sparsity.resets import RESETS
from lthrun.storage.level_store import LevelStore
from lthrun.training import state


@lru_cache(maxsize=4)
def _initialize(
    entry: ModelEntry, name: str, classes: int, channels: int, image_size: int, seed: int, draw: int
) -> nn.Module:
    """A model that is initialized once and copied from then on; `entry` tells two models of one name apart."""
    draws = [draw] if draw else []
    return build_model(name, classes, seed, *draws, channels=channels, image_size=image_size)


class NetworkStates:
    """The states that levels start from and end in; those of finished levels are read from `levels`."""

    def __init__(self, config: ExperimentConfig, classes: int, channels: int, epoch_steps: int, levels: LevelStore):
        self.config, self.classes, self.channels = config, classes, channels
        self.epoch_steps, self.levels = epoch_steps, levels
        model = self._initialized()
        self.names = select_prunable(model, config.layer_selection)
        self.sizes = {name: model.get_parameter(name).numel() for name in self.names}

    def model(self) -> nn.Module:
        """The model as initialized, on the CPU; with a learned mask, with its fixed weights."""
        model, learned = copy.deepcopy(self._initialized()), self.config.learned_mask
        if learned:
            share = 1 - learned.sparsity / 100
            rng = make_generator(self.config.seed, "init", 1)
            supermasks.draw_supermask_weights(model, self.names, learned.weights, share, rng)
        return model

    def initial(self) -> Tensors:
        return state.copy_model_state(self.model() if self.config.learned_mask else self._initialized())

    def _initialized(self, draw: int = 0) -> nn.Module:
        """The model as initialized from the config's seed, on the CPU: to be copied, not changed. Another `draw` has
        other weights."""
        name, image_size, seed = self.config.model.name, self.config.data.image_size, self.config.seed
        return _initialize(MODELS[name], name, self.classes, self.channels, image_size, seed, draw)

    def end(self, level: Level) -> tuple[Tensors, Tensors]:
        """Parameters and buffers, and masks, at the end of a finished level."""
        tensors = self.levels.read(level.key, "end")
        return state.select_prefix("model", tensors), state.select_prefix("mask", tensors)

    def scores(self, level: Level) -> Tensors:
        """What a learned mask was derived from, at the end of its level."""
        return state.select_prefix("score", self.levels.read(level.key, "end"))

    def rewound(self, level: Level) -> Tensors:
        """The state at the rewind point."""
        if level.origin is None:
            return self.initial()
        if level.origin.end == level.rewind_step:
            return self.end(level.origin)[0]
        epoch = level.rewind_step // self.epoch_steps
        return state.select_prefix("model", self.levels.read(level.origin.key, f"epoch-{epoch}"))

    def start(self, level: Level, masks: Tensors) -> Tensors:
        """The state that `level` is trained from, pruned weights at the value they are held at."""
        if level.parent and level.retrain != "weights":
            weights = self.end(level.parent)[0]
        elif level.continues:
            # The fasterai protocol re-initializes batch norm instead of rewinding it.
            weights = state.reset_batch_norm(self.model(), self.rewound(level))
        else:
            rule = "redraw" if level.control == "random-init" else self.config.resets.kept if masks else "rewind"
            weights = self.reset(self.rewound(level), masks, rule)
        masking.apply_masks(weights, masks, self.frozen(masks))
        return weights

    def reset(self, initial: Tensors, masks: Tensors, rule: str) -> Tensors:
        """`initial` with the kept weights reset by a rule of `rewind.kept` (Zhou et al. 2019)."""
        if rule == "rewind":
            return initial
        redrawn = state.copy_model_state(self._initialized(draw=1))
        weights = dict(redrawn if rule == "redraw" else initial)
        rng = make_generator(self.config.seed, "init", 2)
        for name in self.names:
            weights[name] = RESETS[rule](initial[name], redrawn[name], masks[name], rng)
        return weights

    def frozen(self, masks: Tensors) -> Tensors:
        """The values that pruned weights are held at, where that is not zero."""
        if not masks or self.config.resets.pruned == "zero":
            return {}
        initial = self.initial()
        return {name: initial[name] for name in masks}
