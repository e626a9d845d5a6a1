"""The training of one level: from its start, or from where it was stopped, to the files it leaves."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lthrun.analysis.intervals import accuracy, balanced_accuracy
from lthrun.levels.environment import environment
from lthrun.levels.plan import Level
from lthrun.records import EpochRecord, InterimEvaluation
from lthrun.sparsity import masks as masking
from lthrun.sparsity import supermasks
from lthrun.sparsity.masks import Tensors
from lthrun.storage.files import FORMAT
from lthrun.storage.level_store import KEPT_EPOCHS
from lthrun.training import state
from lthrun.training.engine import Engine
from lthrun.training.learning_rates import learning_rate_at
from lthrun.training.loop import EpochProgress, TrainingSpan, train_epochs
from lthrun.training.noise import seed_noise

if TYPE_CHECKING:
    from lthrun.experiments.context import Emit
    from lthrun.levels.builder import LevelBuilder


class Trainer:
    """Trains `level`, whose lock must be held, in a lab."""

    def __init__(self, builder: LevelBuilder, level: Level, emit: Emit):
        self.builder, self.level, self.emit = builder, level, emit
        self.config, self.batches, self.levels = builder.config, builder.batches, builder.levels
        self.prunings = dict(level.prunings)
        self.records: list[dict[str, Any]] = []
        self.last: Tensors = {}
        self.engine: Engine
        self.span: TrainingSpan

    def train(self) -> dict[str, Any]:
        """The level's record, which now lies among the finished levels."""
        builder, level, training = self.builder, self.level, self.config.training
        found = None if builder.fresh else self.levels.checkpoint(level.key, builder.damaged(level, "checkpoint"))
        start = self._resume(*found) if found else EpochProgress(self._begin())
        self.span = TrainingSpan(level.first, level.end, level.order, training.evaluate_every, training.evaluate_images)
        result: dict[str, Any] = {}
        for record in train_epochs(self.engine, self.batches, self.span, self, start):
            self.records.append(to_facts(record))
            if record.step < level.end:
                self._save(EpochProgress(record.step))
            else:
                result = self._finish(self.count_pruned())
            builder.tell(level, self.records[-1:], self.emit)
        return result

    def judge(self) -> dict[str, Any]:
        """The record of a level that is never trained: batch norm's statistics are estimated, and it is judged."""
        builder, level, began = self.builder, self.level, time.perf_counter()
        masks = builder.mask(level)
        found = builder.judge(masks, builder.start(level, masks))
        layers = {name: [int((~masks[name]).sum()), masks[name].numel()] for name in builder.names}
        counts = self.batches.valid_counts
        self.records.append(
            {
                "level_epoch": 0,
                "sparsity": masking.counted_sparsity(layers),
                "train_loss": None,
                "valid_loss": found.loss,
                "accuracy": accuracy(found.correct, counts),
                "balanced_accuracy": balanced_accuracy(found.correct, counts),
                "seconds": time.perf_counter() - began,
                "images_per_second": None,
                "time": time.time(),
                "step": level.end,
                "correct": found.correct,
                "looks": [],
            }
        )
        self.levels.write(level.key, "end", state.add_prefix("mask", masks))
        return self._record(layers)

    def _begin(self) -> int:
        """Make the mask and the start state; the step to begin with."""
        builder, level = self.builder, self.level
        self.levels.discard(level.key)
        masks = builder.mask(level)
        weights = builder.start(level, masks)
        moments = self.levels.read(level.parent.key, "optimizer") if level.continues and level.parent else {}
        self.last = {name: weights[name] for name in builder.names} if level.prunings else {}
        if level.parent:
            sparsity = masking.masked_sparsity(masks)
            self.emit("pruned", level=level.index, sparsity=sparsity, target=level.sparsity, grown=False)
        if level.parent or level.origin:
            self.emit("rewound", level=level.index, step=level.rewind_step, epoch_steps=self.batches.epoch_steps,
                      retrain=level.retrain)  # fmt: skip
        if level.order:
            self.emit("reordered", level=level.index, order=level.order)
        self.engine = builder.engine(masks, weights, moments, level)
        return level.first

    def _resume(self, tensors: Tensors, metadata: dict[str, str]) -> EpochProgress:
        """Load a checkpoint."""
        level = self.level
        masks, weights, moments, self.last = (
            state.select_prefix(part, tensors) for part in ("mask", "model", "optimizer", "last")
        )
        at, self.records = int(metadata["step"]), json.loads(metadata["epochs"])
        within = (at - level.first) % self.batches.epoch_steps
        self.emit("resumed", level=level.index, level_epoch=len(self.records), steps=within)
        self.builder.tell(level, self.records, self.emit)
        self.engine = self.builder.engine(masks, weights, moments, level)
        if not within:
            return EpochProgress(at)
        self.engine.loss.copy_(tensors["loss"])
        looks = [InterimEvaluation(**look) for look in json.loads(metadata.get("looks", "[]"))]
        return EpochProgress(at, float(metadata["seconds"]), looks)

    def before_step(self, step: int) -> None:
        if step in self.prunings:
            before = masking.masked_sparsity(self.engine.masks)
            self.last = self.builder.pruner.prune(self.engine, step, self.prunings[step], self.last)
            after = masking.masked_sparsity(self.engine.masks)
            target = self.prunings[step]
            self.emit("pruned", level=self.level.index, sparsity=after, target=target, grown=after < before)
        seed_noise(self.config.seed, step, self.builder.device)

    def after_step(self, progress: EpochProgress) -> None:
        epoch, first, end = self.span.find_epoch(progress.step - 1, self.batches.epoch_steps)
        every = self.builder.checkpoint_every
        # What is no longer a number is not saved: the checkpoints before it are worth more.
        if every and progress.step % every == 0 and progress.step < end and self.engine.loss.isfinite():
            self._save(progress)
        images = self.batches.batch_size
        done, of = progress.step - first, end - first
        self.emit("step", level=self.level.index, level_epoch=epoch, done=done, of=of, images=images)

    def learning_rate(self, step: int) -> float:
        """Fine-tuning stays at the schedule's last."""
        level, training = self.level, self.config.training
        if level.parent and level.retrain == "finetune":
            step = level.span - 1
        return learning_rate_at(training, step, level.span, self.batches.epoch_steps)

    def count_pruned(self) -> dict[str, list[int]]:
        """The pruned weights per tensor, counted on the weights."""
        engine = self.engine
        if self.level.learned:
            return supermasks.counts(engine.model)
        weights = {name: engine.model.get_parameter(name) for name in self.builder.names}
        return masking.count_pruned(weights, engine.masks, engine.frozen)

    def last_good_checkpoint(self) -> Path | None:
        return self.levels.last_good(self.level.key)

    def _save(self, progress: EpochProgress) -> None:
        """The checkpoint at a step and, at the end of an epoch of level 0, a possible rewind point.

        Within an epoch its loss so far, its seconds and its interim evaluations belong to it.
        """
        level, engine, step = self.level, self.engine, progress.step
        model = state.add_prefix("model", state.copy_model_state(engine.model))
        metadata = {
            "step": str(step),
            "epochs": json.dumps(self.records),
            "seconds": repr(progress.seconds),
            "looks": json.dumps([asdict(look) for look in progress.interim_evaluations]),
        }
        epoch, within = divmod(step - level.first, self.batches.epoch_steps)
        if level.is_dense and not within and epoch <= KEPT_EPOCHS:
            self.levels.write(level.key, f"epoch-{epoch}", model)
        parts = {"mask": engine.masks, "optimizer": state.copy_optimizer_state(engine), "last": self.last}
        for part, tensors in parts.items():
            model |= state.add_prefix(part, tensors)
        self.levels.save(level.key, model | {"loss": engine.loss.cpu()}, metadata)

    def _finish(self, layers: dict[str, list[int]]) -> dict[str, Any]:
        """Write down what a finished level keeps, and its record."""
        level, engine = self.level, self.engine
        weights, masks, scores = state.copy_model_state(engine.model), engine.masks, {}
        if level.learned:
            weights, masks = supermasks.plain(weights), supermasks.masks(engine.model)
            scores = supermasks.scores(engine.model)
        tensors = (
            state.add_prefix("model", weights) | state.add_prefix("mask", masks) | state.add_prefix("score", scores)
        )
        self.levels.write(level.key, "end", tensors)
        if level.keeps_optimizer:
            self.levels.write(level.key, "optimizer", state.copy_optimizer_state(engine))
        return self._record(layers)

    def _record(self, layers: dict[str, list[int]]) -> dict[str, Any]:
        record = {
            "format": FORMAT,
            "level": self.level.index,
            "sparsity": masking.counted_sparsity(layers),
            "layers": layers,
            "epochs": self.records,
            "environment": environment(self.builder.device),
        }
        self.levels.finish(self.level.key, record)
        return record


def to_facts(record: EpochRecord) -> dict[str, Any]:
    facts = record.to_dict()
    facts["looks"] = facts.pop("interim_evaluations")
    return facts
