"""The lab: trains a level, or takes it over where it is already on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lthrun import models
from lthrun.config import Ticket
from lthrun.data.batches import Batches
from lthrun.experiments.context import Emit, RunContext
from lthrun.levels.environment import environment, environment_differences
from lthrun.levels.mask_maker import Pruner
from lthrun.levels.plan import Level
from lthrun.levels.trainer import Trainer
from lthrun.rng import make_generator
from lthrun.sparsity import masks as masking
from lthrun.sparsity import resets, supermasks
from lthrun.sparsity.layer_selection import select_prunable
from lthrun.sparsity.masks import Tensors
from lthrun.storage.level_store import LevelStore
from lthrun.training import state
from lthrun.training.engine import Engine, Evaluation, recalibrate_batch_norm


class LevelBuilder:
    """Model, batches, device and the store of levels, for one run.

    `emit(kind, **facts)` is told of everything as it happens.
    """

    def __init__(
        self,
        context: RunContext,
        levels: LevelStore,
        emit: Emit,
        fresh: bool = False,
        checkpoint_every: int | None = None,
    ):
        self.config: Any = context.config
        self.device, self.precision = context.device, context.conditions.precision
        self.classes = len(context.store.classes)
        self.batches = Batches(
            context.store,
            context.split,
            self.config.data,
            self.config.training.batch_size,
            self.config.seed,
            context.device,
        )
        rewind = getattr(self.config, "rewind", None)
        self.points = context.rewind_steps
        # Where a state is said to be saved: only where a level will go back to it.
        self.rewind_steps = set(self.points) if rewind and rewind.retrain == "weights" else set()
        model = self.model()
        self.names = select_prunable(model, context.where)
        self.sizes = {name: t.numel() * t.element_size() for name, t in model.state_dict().items()}
        self.pruner = Pruner(self.config, self.names, self.model, self.batches, self.device)
        self.levels, self.emit, self.fresh, self.checkpoint_every = levels, emit, fresh, checkpoint_every
        self._done: set[str] = set()

    def draw_model(self, *draw: int) -> torch.nn.Module:
        """The model as it is initialized from the seed, or from another draw of it."""
        return models.build_model(
            self.config.model.name, self.classes, self.config.seed, *draw,
            channels=self.batches.channels, image_size=self.batches.size,
        )  # fmt: skip

    def model(self) -> torch.nn.Module:
        """The model as initialised from the seed, on the CPU; of a learned supermask, with its weights."""
        model = self.draw_model()
        kind = getattr(self.config, "supermask", None)
        if kind and kind.method != "lth":
            share = 1 - self.config.pruning.sparsity / 100 if kind.method == "edge-popup" else 1.0
            draw = make_generator(self.config.seed, "init", 1)
            supermasks.draw_supermask_weights(
                model, select_prunable(model, self.config.pruning), kind.weights, share, draw
            )
        return model

    def get_or_train(self, level: Level, replay: bool = False, done: Iterable[str] = ()) -> dict[str, Any]:
        """The level's record, trained now or taken over; its epochs are emitted either way.

        A `replay` only reaches a rewind point, so its epochs are not part of the run. `done` are keys of levels that
        were obtained already, elsewhere.
        """
        self._done.update(done)
        emit = self._emit_steps if replay else self.emit
        if level.origin and level.origin.key not in self._done:
            self.get_or_train(level.origin, replay=True)
        with self.levels.lock(level.key, lambda: self.emit("waiting", level=level.index, key=level.key)):
            if level.is_dense and 0 in self.rewind_steps:
                emit("saved", step=0, epoch_steps=self.batches.epoch_steps)
            record = None if self.fresh else self.levels.take_over(level.key, self.damaged(level, "result"))
            reused = record is not None
            if record is not None:
                differs = environment_differences(record.get("environment", {}), environment(self.device))
                self.emit("reused", level=level.index, key=level.key, replay=replay, differs=differs)
                self.tell(level, record["epochs"], emit)
            else:
                if replay:
                    self.emit("replaying", step=level.end)
                trainer = Trainer(self, level, emit)
                # Layers that draw in training, such as dropout, are seeded at every step.
                with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
                    record = trainer.train() if level.steps else trainer.judge()
        self._done.add(level.key)
        if not level.masked:  # it may come from a run that prunes other layers
            model = self.model()
            record = record | {"layers": {name: [0, model.get_parameter(name).numel()] for name in self.names}}
        return record | {"reused": reused}

    def end(self, level: Level) -> tuple[Tensors, Tensors]:
        """Parameters and buffers, and masks, at the end of a finished level."""
        tensors = self.levels.read(level.key, "end")
        return state.select_prefix("model", tensors), state.select_prefix("mask", tensors)

    def scores(self, level: Level) -> Tensors:
        """What a learned mask was made from, at the end of its level."""
        return state.select_prefix("score", self.levels.read(level.key, "end"))

    def rewound(self, level: Level) -> Tensors:
        """Parameters and buffers at the rewind point."""
        if level.origin is None:
            return state.copy_model_state(self.model())
        if level.origin.end == level.rewind_step:
            return self.end(level.origin)[0]
        epoch = level.rewind_step // self.batches.epoch_steps
        return state.select_prefix("model", self.levels.read(level.origin.key, f"epoch-{epoch}"))

    def start(self, level: Level, masks: Tensors) -> Tensors:
        """Parameters and buffers that `level` is trained from, pruned weights at the value they are held at."""
        if level.parent and level.retrain != "weights":
            weights = self.end(level.parent)[0]
        elif level.continues:
            # The fasterai protocol: batch norm is not rewound but made anew.
            weights = state.reset_batch_norm(self.model(), self.rewound(level))
        else:
            rule = "redraw" if level.control == "random-init" else self.config.rewind.kept if masks else "rewind"
            weights = self.reset(self.rewound(level), masks, rule)
        masking.apply_masks(weights, masks, self.frozen(masks))
        return weights

    def reset(self, initial: Tensors, masks: Tensors, rule: str) -> Tensors:
        """`initial` with the kept weights as a `rule` of `rewind.kept` has them (Zhou et al. 2019)."""
        if rule == "rewind":
            return initial
        drawn = state.copy_model_state(self.draw_model(1))
        weights = dict(drawn if rule == "redraw" else initial)
        draw = make_generator(self.config.seed, "init", 2)
        for name in self.names:
            weights[name] = resets.RESETS[rule](initial[name], drawn[name], masks[name], draw)
        return weights

    def frozen(self, masks: Tensors) -> Tensors:
        """The values that pruned weights are held at, where that is not zero."""
        if not masks or not isinstance(self.config, Ticket) or self.config.rewind.pruned == "zero":
            return {}
        initial = state.copy_model_state(self.model())
        return {name: initial[name] for name in masks}

    def mask(self, level: Level) -> Tensors:
        """The level's masks, made from its parent's trained weights; none for a dense level."""
        if level.parent is None:
            return {}
        trained, previous = self.end(level.parent)
        start = self.rewound(level)
        last = self.end(level.parent.parent)[0] if level.parent.parent else start
        masks = self.pruner.masks(level.index, level.sparsity, trained, start, last, previous)
        if level.control != "random-mask":
            return masks
        draw = make_generator(self.config.seed, "mask", level.index, 0)
        return masking.draw_random_masks(
            {name: masks[name] for name in self.names}, draw, self.config.pruning.granularity
        )

    def judge(self, masks: Tensors, weights: Tensors, batch_norm: str = "recalibrate") -> Evaluation:
        """Weights that were not trained as they are, judged under masks.

        Batch norm's statistics belong to the weights they are used with, so `recalibrate` estimates them by one pass of
        centre crops over the training set.
        """
        engine = self.engine(masks, weights, {})
        if batch_norm == "recalibrate":
            recalibrate_batch_norm(engine, self.batches.center_crops("train", self.batches.batch_size))
        return engine.evaluate(self.batches.validation_batches(), self.classes)

    def engine(self, masks: Tensors, weights: Tensors, moments: Tensors, level: Level | None = None) -> Engine:
        """An engine in a given state, its pruned weights held; it trains scores where a mask is learned."""
        model = self.model()
        if level and level.learned:
            draw = make_generator(self.config.seed, "mask")
            supermasks.make_learnable(model, self.names, level.learned, level.sparsity, draw)
            weights = state.copy_model_state(model) | weights
        state.load_model_state(model, weights)
        uncaptured = partial(self.emit, "uncaptured")
        engine = Engine(model, self.config.training, self.device, self.precision, masks, self.frozen(masks), uncaptured)
        state.load_optimizer_state(engine, moments)
        return engine

    def _emit_steps(self, kind: str, **facts: Any) -> None:
        if kind == "step":
            self.emit(kind, **facts)

    def tell(self, level: Level, records: list[dict[str, Any]], emit: Emit) -> None:
        """Emit epochs, and that the state was saved where one ends at the run's rewind point."""
        for record in records:
            emit("epoch", level=level.index, **record)
            if level.is_dense and record["step"] in self.rewind_steps:
                emit("saved", step=record["step"], epoch_steps=self.batches.epoch_steps)

    def damaged(self, level: Level, what: str) -> Callable[[Path], None]:
        """Says where something damaged of a level was put."""
        return lambda aside: self.emit("damaged", level=level.index, what=what, aside=str(aside))
