"""The lab: trains a level, or takes it over where it is already on disk."""

from __future__ import annotations

import json
from typing import Any

import torch

from lthrun import models
from lthrun.data.batches import Batches
from lthrun.experiments.levels import Level
from lthrun.experiments.setting import Emit, Setting
from lthrun.sparsity import masks as masking
from lthrun.sparsity.criteria import CRITERIA
from lthrun.sparsity.masks import Tensors
from lthrun.storage import FORMAT, KEPT_EPOCHS, LevelStore
from lthrun.streams import generator
from lthrun.training import state
from lthrun.training.engine import Engine
from lthrun.training.loop import Record, epochs


class Lab:
    """Model, batches, device and the store of levels, for one run.

    `emit(kind, **facts)` is told of everything as it happens.
    """

    def __init__(self, setting: Setting, levels: LevelStore, emit: Emit, fresh: bool = False):
        self.config: Any = setting.config
        self.device, self.precision = setting.device, setting.ground.precision
        self.classes = len(setting.store.classes)
        self.batches = Batches(
            setting.store,
            setting.train,
            setting.valid,
            self.config.training.batch_size,
            self.config.seed,
            setting.device,
        )
        self.rewind_step = setting.rewind_step
        self.levels, self.emit, self.fresh = levels, emit, fresh
        self._done: set[str] = set()

    def model(self) -> torch.nn.Module:
        """The model as initialised from the seed, on the CPU."""
        return models.build(self.config.model.name, self.classes, self.config.seed)

    def obtain(self, level: Level, replay: bool = False) -> dict[str, Any]:
        """The level's record, trained now or taken over; its epochs are emitted either way.

        A `replay` only reaches a rewind point, so its epochs are not part of the run.
        """
        emit = self._emit_steps if replay else self.emit
        if level.origin and level.origin.key not in self._done:
            self.obtain(level.origin, replay=True)
        with self.levels.lock(level.key, lambda: self.emit("waiting", level=level.index, key=level.key)):
            if level.index == 0 and self.rewind_step == 0:
                emit("saved", step=0, epoch_steps=self.batches.epoch_steps)
            record = None if self.fresh else self.levels.record(level.key)
            reused = record is not None
            if record is not None:
                self.levels.discard(level.key)  # what an interrupted --fresh has left
                self.emit("reused", level=level.index, key=level.key, replay=replay)
                self._tell(level, record["epochs"], emit)
            else:
                if replay:
                    self.emit("replaying", step=level.end)
                record = self._train(level, emit)
        self._done.add(level.key)
        return record | {"reused": reused}

    def end(self, level: Level) -> tuple[Tensors, Tensors]:
        """Parameters and buffers, and masks, at the end of a finished level."""
        tensors = self.levels.read(level.key, "end")
        return state.under("model", tensors), state.under("mask", tensors)

    def rewound(self, level: Level) -> Tensors:
        """Parameters and buffers that `level` goes back to, before its mask is applied."""
        if level.origin is None:
            weights = state.of_model(self.model())
        elif level.origin.end == level.rewind_step:
            weights, _ = self.end(level.origin)
        else:
            weights = state.under(
                "model",
                self.levels.read(level.origin.key, f"epoch-{level.rewind_step // self.batches.epoch_steps}"),
            )
        if level.continues:
            # The fasterai protocol: batch norm is not rewound but made anew.
            weights = state.initialised_batch_norm(self.model(), weights)
        return weights

    def mask(self, level: Level) -> Tensors:
        """The level's masks, made from its parent's trained weights; none for a dense level."""
        if level.parent is None:
            return {}
        trained, previous = self.end(level.parent)
        rules = self.config.pruning
        names = models.prunable(self.model())
        draw = generator(self.config.seed, "mask", level.index)
        scores = {name: CRITERIA[rules.criterion](trained[name], draw) for name in names}
        return masking.make(scores, level.sparsity, rules.granularity, rules.context, previous or None)

    def _train(self, level: Level, emit: Emit) -> dict[str, Any]:
        found = None if self.fresh else self.levels.checkpoint(level.key, lambda: emit("damaged", level=level.index))
        if found is None:
            self.levels.discard(level.key)
            masks, start, records = self.mask(level), level.first, []
            weights = self.rewound(level)
            moments = self.levels.read(level.parent.key, "optimizer") if level.continues and level.parent else {}
            if level.parent:
                emit("pruned", level=level.index, sparsity=masking.pruned(masks), target=level.sparsity)
                emit("rewound", level=level.index, step=level.rewind_step, epoch_steps=self.batches.epoch_steps)
        else:
            tensors, metadata = found
            masks, weights, moments = (state.under(part, tensors) for part in ("mask", "model", "optimizer"))
            start, records = int(metadata["step"]), json.loads(metadata["epochs"])
            emit("resumed", level=level.index, level_epoch=len(records))
            self._tell(level, records, emit)
        engine = self.engine(masks, weights, moments)

        def on_step(epoch: int, done: int, of: int) -> None:
            emit("step", level=level.index, level_epoch=epoch, done=done, of=of, images=self.batches.batch_size)

        for record in epochs(engine, self.batches, start, level.first, level.end, on_step):
            records.append(record.to_dict())
            if record.step < level.end:
                self._save(level, engine, record, records)
            else:
                result = self._finish(level, engine, records)
            self._tell(level, records[-1:], emit)
        return result

    def _finish(self, level: Level, engine: Engine, records: list[dict[str, Any]]) -> dict[str, Any]:
        """Write down what a finished level keeps, and its record."""
        weights, masks = state.of_model(engine.model), engine.masks
        layers = masking.zeros({name: weights[name] for name in models.prunable(engine.model)}, masks)
        self.levels.write(level.key, "end", state.prefixed("model", weights) | state.prefixed("mask", masks))
        if level.keeps_optimizer:
            self.levels.write(level.key, "optimizer", state.of_optimizer(engine))
        result = {
            "format": FORMAT,
            "level": level.index,
            "sparsity": masking.sparsity(layers),
            "layers": layers,
            "epochs": records,
        }
        self.levels.finish(level.key, result)
        return result

    def engine(self, masks: Tensors, weights: Tensors, moments: Tensors) -> Engine:
        """An engine in a given state, its pruned weights zero."""
        model = self.model()
        state.to_model(model, weights)
        engine = Engine(model, self.config.training, self.device, self.precision, masks)
        state.to_optimizer(engine, moments)
        return engine

    def _emit_steps(self, kind: str, **facts: Any) -> None:
        if kind == "step":
            self.emit(kind, **facts)

    def _tell(self, level: Level, records: list[dict[str, Any]], emit: Emit) -> None:
        """Emit epochs, and that the state was saved where one ends at the run's rewind point."""
        for record in records:
            emit("epoch", level=level.index, **record)
            if level.index == 0 and record["step"] == self.rewind_step:
                emit("saved", step=record["step"], epoch_steps=self.batches.epoch_steps)

    def _save(self, level: Level, engine: Engine, record: Record, records: list[dict[str, Any]]) -> None:
        """The checkpoint after an epoch and, in level 0, a possible rewind point."""
        model = state.prefixed("model", state.of_model(engine.model))
        metadata = {"step": str(record.step), "epochs": json.dumps(records)}
        if level.parent is None and record.level_epoch < KEPT_EPOCHS:
            self.levels.write(level.key, f"epoch-{record.level_epoch + 1}", model)
        tensors = model | state.prefixed("mask", engine.masks) | state.prefixed("optimizer", state.of_optimizer(engine))
        self.levels.write(level.key, "checkpoint", tensors, metadata)
