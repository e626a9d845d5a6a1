"""Trains one level: from its start, or from its last checkpoint, to the files of a finished level."""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path

from lthrun.analysis.intervals import accuracy, balanced_accuracy
from lthrun.events import Emit, EpochFinished, Pruned, Reordered, Resumed, Rewound, Step
from lthrun.levels.builder import LevelBuilder
from lthrun.levels.early_stopping import EarlyStop
from lthrun.levels.environment import describe_environment
from lthrun.levels.interrupts import PendingInterrupt, defer_interrupts
from lthrun.levels.plan import Level
from lthrun.records import EpochRecord, InterimEvaluation, LayerCounts, LevelRecord, LevelTest
from lthrun.sparsity import masks as masking
from lthrun.sparsity import supermasks
from lthrun.sparsity.masks import Tensors
from lthrun.storage.background import BackgroundWriter
from lthrun.storage.level_store import KEPT_EPOCHS
from lthrun.training import state
from lthrun.training.engine import Engine
from lthrun.training.learning_rates import learning_rate_at
from lthrun.training.loop import EpochProgress, TrainingSpan, train_epochs
from lthrun.training.noise import seed_noise


class LevelTrainer:
    """Trains `level`, whose lock must be held."""

    def __init__(self, builder: LevelBuilder, level: Level, emit: Emit):
        self.builder, self.level, self.emit = builder, level, emit
        self.config, self.batches, self.levels = builder.config, builder.batches, builder.levels
        self.prunings = dict(level.prunings)
        self.records: list[EpochRecord] = []
        self.before_pruning: Tensors = {}
        self.early_stop = EarlyStop()
        self.engine: Engine
        self.span: TrainingSpan
        self.writer: BackgroundWriter
        self.interrupt: PendingInterrupt
        self.last_saved = time.monotonic()

    def train(self) -> LevelRecord:
        """The record of the level, which is now cached.

        Ctrl-C and SIGTERM end the training after the current step, which is saved.
        """
        with defer_interrupts(self.builder.stop) as self.interrupt, BackgroundWriter() as self.writer:
            return self._train()

    def _train(self) -> LevelRecord:
        builder, level, training = self.builder, self.level, self.config.training
        damaged = builder.report_damage(level, "checkpoint")
        checkpoint = None if builder.fresh else self.levels.read_checkpoint(level.key, damaged)
        start = self._resume(*checkpoint) if checkpoint else self._start()
        self.span = TrainingSpan(level.first, level.end, level.order, training.evaluate_every, training.evaluate_images)
        for record in train_epochs(self.engine, self.batches, self.span, self, start):
            self.records.append(record)
            if record.step < level.end:
                self.emit(EpochFinished(level.index, record))
                self._save(EpochProgress(record.step))
        self.writer.wait()
        finished = self._finish_record(self.count_pruned(), self._test(self.engine))
        builder.emit_epochs(level, self.records[-1:], self.emit, finished.test)
        return finished

    def evaluate(self) -> LevelRecord:
        """The record of a level that is never trained: batch norm is recalibrated, and the network is evaluated."""
        builder, level, began = self.builder, self.level, time.perf_counter()
        masks = builder.mask_maker.make_level_masks(level)
        engine = builder.load_untrained(masks, builder.states.start(level, masks))
        result = engine.evaluate(self.batches.validation_batches(), builder.classes)
        layers = masking.count_masked({name: masks[name] for name in builder.names})
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
        self.levels.write(level.key, "end", state.join_parts(mask=masks))
        return self._finish_record(layers, self._test(engine))

    def _start(self) -> EpochProgress:
        """Make the mask and the start state."""
        builder, level = self.builder, self.level
        self.levels.discard(level.key)
        masks = builder.mask_maker.make_level_masks(level)
        weights = builder.states.start(level, masks)
        moments = self.levels.read(level.parent.key, "optimizer") if level.continues and level.parent else {}
        self.before_pruning = {name: weights[name] for name in builder.names} if level.prunings else {}
        if level.parent:
            context = builder.mask_maker.settings.context
            self.emit(Pruned(level.index, masking.masked_sparsity(masks), level.sparsity, False, context))
        if level.parent or level.origin:
            self.emit(Rewound(level.index, level.rewind_step, self.batches.epoch_steps, level.retrain))
        if level.order:
            self.emit(Reordered(level.index, level.order))
        self.engine = builder.make_engine(masks, weights, moments, level)
        return EpochProgress(level.first)

    def _resume(self, tensors: Tensors, metadata: dict[str, str]) -> EpochProgress:
        """Load a checkpoint."""
        level = self.level
        masks, weights, moments, self.before_pruning = (
            state.select_prefix(part, tensors) for part in ("mask", "model", "optimizer", "before_pruning")
        )
        step = int(metadata["step"])
        self.records = [EpochRecord.from_dict(facts) for facts in json.loads(metadata["epochs"])]
        within = (step - level.first) % self.batches.epoch_steps
        self.emit(Resumed(level.index, len(self.records), within))
        self.builder.emit_epochs(level, self.records, self.emit)
        self.engine = self.builder.make_engine(masks, weights, moments, level)
        self.early_stop = EarlyStop.from_checkpoint(tensors, metadata)
        if not within:
            return EpochProgress(step)
        self.engine.loss.copy_(tensors["loss"])
        interim = [InterimEvaluation(**facts) for facts in json.loads(metadata["interim_evaluations"])]
        return EpochProgress(step, float(metadata["seconds"]), interim)

    def learning_rate(self, step: int) -> float:
        """The learning rate at a step; fine-tuning stays at the schedule's last."""
        level = self.level
        at = level.span - 1 if level.parent and level.retrain == "finetune" else step
        return learning_rate_at(self.config.training, at, level.span, self.batches.epoch_steps)

    def before_step(self, step: int) -> None:
        if step in self.prunings:
            target = self.prunings[step]
            before = masking.masked_sparsity(self.engine.masks)
            maker = self.builder.mask_maker
            self.before_pruning = maker.prune(self.engine, step, target, self.before_pruning)
            after = masking.masked_sparsity(self.engine.masks)
            self.emit(Pruned(self.level.index, after, target, after < before, maker.settings.context))
        seed_noise(self.config.seed, step, self.builder.device)

    def after_step(self, progress: EpochProgress) -> None:
        level = self.level
        epoch, first, end = self.span.find_epoch(progress.step - 1, self.batches.epoch_steps)
        done, total = progress.step - first, end - first
        latest = progress.interim_evaluations[-1:]
        if self.batches.n_test and latest and latest[0].step == progress.step:
            self.early_stop.observe(latest[0], self.engine.model)
        self.writer.poll()
        if done < total:
            self._save(progress)
        self.emit(Step(level.index, epoch, done, total, self.batches.batch_size))
        if progress.step == level.end:
            self._write_end()

    def count_pruned(self) -> LayerCounts:
        """Per tensor, the weights that are pruned, counted on the weights, and all."""
        engine = self.engine
        if self.level.learned:
            return masking.count_masked(supermasks.masks(engine.model))
        weights = {name: engine.model.get_parameter(name) for name in self.builder.names}
        return masking.count_pruned(weights, engine.masks, engine.frozen)

    def last_good_checkpoint(self) -> Path | None:
        self.writer.wait()  # the newest is still under its temporary name while it is written
        return self.levels.last_good_checkpoint(self.level.key)

    def _save(self, progress: EpochProgress) -> None:
        """Write what is due after a step: a rewind point, a checkpoint; handle an interrupt."""
        level, is_interrupted = self.level, self.interrupt.is_pending
        epoch, within = divmod(progress.step - level.first, self.batches.epoch_steps)
        is_kept = level.is_dense and not within and epoch <= KEPT_EPOCHS
        # A state with NaN or inf is not saved: the checkpoints before it are worth more.
        is_due = (is_interrupted or self._is_due(progress.step, epoch, within)) and bool(self.engine.loss.isfinite())
        if is_kept or is_due:
            model = state.join_parts(model=state.copy_model_state(self.engine.model))
            if is_kept:
                write = partial(self.levels.write, level.key, f"epoch-{epoch}", model)
                self.writer.submit(write, partial(self.builder.emit_saved, level, progress.step, self.emit))
            if is_due:
                self.writer.submit(partial(self.levels.write_checkpoint, level.key, *self._checkpoint(model, progress)))
                self.last_saved = time.monotonic()
        if is_interrupted:
            self.writer.wait()
            self.interrupt.handle()

    def _is_due(self, step: int, epoch: int, within: int) -> bool:
        """Whether a checkpoint is due after a step; one by time waits for the end of an epoch."""
        count, unit = self.builder.checkpoint_every
        if unit == "it":
            return step % count == 0
        is_enough = time.monotonic() - self.last_saved >= count if unit == "s" else epoch % count == 0
        return not within and is_enough

    def _checkpoint(self, model: Tensors, progress: EpochProgress) -> tuple[Tensors, dict[str, str]]:
        """Everything needed to resume: tensors and metadata."""
        moments = state.copy_optimizer_state(self.engine)
        tensors = state.join_parts(mask=self.engine.masks, optimizer=moments, before_pruning=self.before_pruning)
        early_stop, chosen = self.early_stop.to_checkpoint()
        metadata = {
            "step": str(progress.step),
            "epochs": json.dumps([record.to_dict() for record in self.records]),
            "seconds": repr(progress.seconds),
            "interim_evaluations": json.dumps([vars(found) for found in progress.interim_evaluations]),
        }
        return model | tensors | early_stop | {"loss": self.engine.loss.cpu().clone()}, metadata | chosen

    def _write_end(self) -> None:
        """Write the files that a finished level keeps, while its last epoch is validated."""
        level, engine = self.level, self.engine
        weights, masks, scores = state.copy_model_state(engine.model), engine.masks, Tensors()
        if level.learned:
            weights, masks = supermasks.plain(weights), supermasks.masks(engine.model)
            scores = supermasks.scores(engine.model)
        files = {"end": state.join_parts(model=weights, mask=masks, score=scores)}
        if level.keeps_optimizer:
            files["optimizer"] = state.copy_optimizer_state(engine)
        self.writer.submit(partial(self.levels.write_files, level.key, files))

    def _test(self, engine: Engine) -> LevelTest | None:
        """Evaluate the test images, once all else is written: the engine may hold another state afterwards."""
        if not self.batches.n_test:
            return None
        last = self.builder.evaluate_test(engine, self.level.end)
        if self.early_stop.evaluation is None:
            return LevelTest(last)
        self.early_stop.restore(engine.model)
        return LevelTest(last, self.builder.evaluate_test(engine, self.early_stop.evaluation.step))

    def _finish_record(self, layers: LayerCounts, test: LevelTest | None) -> LevelRecord:
        level, environment = self.level, describe_environment(self.builder.device)
        record = LevelRecord(level.index, masking.counted_sparsity(layers), layers, self.records, environment, test)
        self.levels.finish(self.level.key, record.to_dict())
        return record
