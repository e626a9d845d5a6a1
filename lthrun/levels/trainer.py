"""Trains one level: from its start, or from its last checkpoint, to the files of a finished level."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from lthrun.analysis.intervals import accuracy, balanced_accuracy
from lthrun.events import Emit, Pruned, Reordered, Resumed, Rewound, Step
from lthrun.levels.builder import LevelBuilder
from lthrun.levels.environment import describe_environment
from lthrun.levels.plan import Level
from lthrun.records import EpochRecord, InterimEvaluation, LayerCounts, LevelRecord
from lthrun.rng import derive_seed
from lthrun.sparsity import masks as masking
from lthrun.sparsity import supermasks
from lthrun.sparsity.masks import Tensors
from lthrun.storage.level_store import KEPT_EPOCHS
from lthrun.training import state
from lthrun.training.engine import Engine
from lthrun.training.learning_rates import rate
from lthrun.training.loop import TrainingSpan, epochs


class LevelTrainer:
    """Trains `level`, whose lock must be held."""

    def __init__(self, builder: LevelBuilder, level: Level, emit: Emit):
        self.builder, self.level, self.emit = builder, level, emit
        self.config, self.batches, self.levels = builder.config, builder.batches, builder.levels
        self.prunings = dict(level.prunings)
        self.records: list[EpochRecord] = []
        self.before_pruning: Tensors = {}
        self.engine: Engine

    def train(self) -> LevelRecord:
        """The record of the level, which is now cached."""
        builder, level, training = self.builder, self.level, self.config.training
        damaged = builder.report_damage(level, "checkpoint")
        checkpoint = None if builder.fresh else self.levels.read_checkpoint(level.key, damaged)
        at, spent, interim = self._resume(*checkpoint) if checkpoint else (self._start(), 0.0, [])
        span = TrainingSpan(level.first, level.end, level.order, training.evaluate_every, training.evaluate_images)
        measure = self._measure()
        for record in epochs(
            self.engine, self.batches, span, at, self._learning_rate(), measure, self._before_step, self._after_step,
            partial(self.levels.last_good_checkpoint, level.key), spent, interim,
        ):  # fmt: skip
            self.records.append(record)
            if record.step < level.end:
                self._save(record.step)
                builder.emit_epochs(level, [record], self.emit)
        finished = self._finish(measure())
        builder.emit_epochs(level, self.records[-1:], self.emit)
        return finished

    def evaluate(self) -> LevelRecord:
        """The record of a level that is never trained: batch norm is recalibrated, and the network is evaluated."""
        builder, level, began = self.builder, self.level, time.perf_counter()
        masks = builder.mask_maker.make_level_masks(level)
        result = builder.evaluate(masks, builder.states.start(level, masks))
        layers = {name: (int((~masks[name]).sum()), masks[name].numel()) for name in builder.names}
        counts = self.batches.valid_counts
        record = EpochRecord(
            level_epoch=0,
            sparsity=masking.counted_sparsity(layers),
            train_loss=None,
            valid_loss=result.loss,
            accuracy=accuracy(result.correct, counts),
            balanced_accuracy=balanced_accuracy(result.correct, counts),
            seconds=time.perf_counter() - began,
            images_per_second=None,
            time=time.time(),
            step=level.end,
            correct=result.correct,
        )
        self.records.append(record)
        self.levels.write(level.key, "end", state.add_prefix("mask", masks))
        return self._finish_record(layers)

    def _start(self) -> int:
        """Make the mask and the start state; the first step."""
        builder, level = self.builder, self.level
        self.levels.discard(level.key)
        masks = builder.mask_maker.make_level_masks(level)
        weights = builder.states.start(level, masks)
        moments = self.levels.read(level.parent.key, "optimizer") if level.continues and level.parent else {}
        self.before_pruning = {name: weights[name] for name in builder.names} if level.prunings else {}
        if level.parent:
            self.emit(Pruned(level.index, masking.masked_sparsity(masks), level.sparsity, False))
        if level.parent or level.origin:
            self.emit(Rewound(level.index, level.rewind_step, self.batches.epoch_steps, level.retrain))
        if level.order:
            self.emit(Reordered(level.index, level.order))
        self.engine = builder.make_engine(masks, weights, moments, level)
        return level.first

    def _resume(self, tensors: Tensors, metadata: dict[str, str]) -> tuple[int, float, list[InterimEvaluation]]:
        """Load a checkpoint: its step, and the seconds and interim evaluations of its epoch so far."""
        level = self.level
        masks, weights, moments, self.before_pruning = (
            state.select_prefix(part, tensors) for part in ("mask", "model", "optimizer", "before_pruning")
        )
        at = int(metadata["step"])
        self.records = [EpochRecord.from_dict(facts) for facts in json.loads(metadata["epochs"])]
        within = (at - level.first) % self.batches.epoch_steps
        self.emit(Resumed(level.index, len(self.records), within))
        self.builder.emit_epochs(level, self.records, self.emit)
        self.engine = self.builder.make_engine(masks, weights, moments, level)
        if not within:
            return at, 0.0, []
        self.engine.loss.copy_(tensors["loss"])
        interim = [InterimEvaluation(**facts) for facts in json.loads(metadata["interim_evaluations"])]
        return at, float(metadata["seconds"]), interim

    def _before_step(self, step: int) -> None:
        if step in self.prunings:
            target = self.prunings[step]
            before = masking.masked_sparsity(self.engine.masks)
            self.before_pruning = self.builder.mask_maker.prune(self.engine, step, target, self.before_pruning)
            after = masking.masked_sparsity(self.engine.masks)
            self.emit(Pruned(self.level.index, after, target, after < before))
        torch.manual_seed(derive_seed(self.config.seed, "noise", step))

    def _after_step(
        self, epoch: int, done: int, total: int, seconds: float, interim: Sequence[InterimEvaluation]
    ) -> None:
        step = self.level.first + epoch * self.batches.epoch_steps + done
        every = self.builder.checkpoint_every
        # A state with NaN or inf is not saved: the checkpoints before it are worth more.
        if every and step % every == 0 and done < total and self.engine.loss.isfinite():
            self._save(step, seconds, interim)
        self.emit(Step(self.level.index, epoch, done, total, self.batches.batch_size))

    def _learning_rate(self) -> Callable[[int], float]:
        """The learning rate at each step; fine-tuning stays at the schedule's last."""
        level, training = self.level, self.config.training
        fixed = level.span - 1 if level.parent and level.retrain == "finetune" else None
        return lambda step: rate(training, step if fixed is None else fixed, level.span, self.batches.epoch_steps)

    def _measure(self) -> Callable[[], LayerCounts]:
        """Counts the pruned weights of each tensor, on the weights."""
        engine = self.engine
        if self.level.learned:
            return lambda: supermasks.counts(engine.model)
        weights = {name: engine.model.get_parameter(name) for name in self.builder.names}
        return lambda: masking.count_pruned(weights, engine.masks, engine.frozen)

    def _save(self, step: int, seconds: float = 0.0, interim: Sequence[InterimEvaluation] = ()) -> None:
        """Write the checkpoint at a step and, at the end of an epoch of level 0, a possible rewind point.

        Within an epoch the loss so far, the `seconds` it took and its `interim` evaluations belong to it.
        """
        level, engine = self.level, self.engine
        tensors = state.add_prefix("model", state.copy_model_state(engine.model))
        metadata = {
            "step": str(step),
            "epochs": json.dumps([record.to_dict() for record in self.records]),
            "seconds": repr(seconds),
            "interim_evaluations": json.dumps([vars(found) for found in interim]),
        }
        epoch, within = divmod(step - level.first, self.batches.epoch_steps)
        if level.is_dense and not within and epoch <= KEPT_EPOCHS:
            self.levels.write(level.key, f"epoch-{epoch}", tensors)
        parts = {
            "mask": engine.masks,
            "optimizer": state.copy_optimizer_state(engine),
            "before_pruning": self.before_pruning,
        }
        for part, values in parts.items():
            tensors |= state.add_prefix(part, values)
        self.levels.write_checkpoint(level.key, tensors | {"loss": engine.loss.cpu()}, metadata)

    def _finish(self, layers: LayerCounts) -> LevelRecord:
        """Write the files that a finished level keeps, and its record."""
        level, engine = self.level, self.engine
        weights, masks, scores = state.copy_model_state(engine.model), engine.masks, {}
        if level.learned:
            weights, masks = supermasks.plain(weights), supermasks.masks(engine.model)
            scores = supermasks.scores(engine.model)
        parts: dict[str, Any] = {"model": weights, "mask": masks, "score": scores}
        tensors = {name: t for part, values in parts.items() for name, t in state.add_prefix(part, values).items()}
        self.levels.write(level.key, "end", tensors)
        if level.keeps_optimizer:
            self.levels.write(level.key, "optimizer", state.copy_optimizer_state(engine))
        return self._finish_record(layers)

    def _finish_record(self, layers: LayerCounts) -> LevelRecord:
        environment = describe_environment(self.builder.device)
        record = LevelRecord(self.level.index, masking.counted_sparsity(layers), layers, self.records, environment)
        self.levels.finish(self.level.key, record.to_dict())
        return record
