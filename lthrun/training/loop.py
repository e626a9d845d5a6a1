"""Epochs of training steps: each ends in a validation and gives a record."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from lthrun.analysis.intervals import accuracy, balanced_accuracy
from lthrun.data.batches import Batches
from lthrun.errors import UserError
from lthrun.records import EpochRecord, InterimEvaluation
from lthrun.sparsity.masks import counted_sparsity
from lthrun.training.engine import Engine


@dataclass(frozen=True)
class TrainingSpan:
    """The training steps from `first` up to, but not including, `end`.

    Attributes:
        order: which order of the images is used.
        evaluate_every: also validate after every so many steps, and after the last; None: after each epoch only.
        evaluate_images: use so many validation images for that; None: all of them.
    """

    first: int
    end: int
    order: int = 0
    evaluate_every: int | None = None
    evaluate_images: int | None = None

    def find_epoch(self, step: int, epoch_steps: int) -> tuple[int, int, int]:
        """The epoch of a step: its number in the span, its first step and the step after its last.

        Epochs are counted from the span's first step, which may lie within an epoch of the data; the last may be
        shorter.
        """
        epoch = (step - self.first) // epoch_steps
        first = self.first + epoch * epoch_steps
        return epoch, first, min(first + epoch_steps, self.end)

    def has_evaluation_after(self, step: int) -> bool:
        if not self.evaluate_every:
            return False
        return (step + 1 - self.first) % self.evaluate_every == 0 or step + 1 == self.end


@dataclass
class EpochProgress:
    """How far an epoch has come: a checkpoint within the epoch keeps this, and training resumes from it.

    Attributes:
        step: the next training step.
        seconds: the time the epoch has taken so far.
        interim_evaluations: those of the epoch so far.
    """

    step: int
    seconds: float = 0.0
    interim_evaluations: list[InterimEvaluation] = field(default_factory=list)


class Callbacks(Protocol):
    """What the loop asks of the level that it trains."""

    def learning_rate(self, step: int) -> float: ...

    def before_step(self, step: int) -> None: ...

    def after_step(self, progress: EpochProgress) -> None: ...

    def count_pruned(self) -> Mapping[str, Sequence[int]]:
        """Per prunable tensor, how many weights are pruned, and how many there are."""

    def last_good_checkpoint(self) -> Path | None: ...


def train_epochs(
    engine: Engine, batches: Batches, span: TrainingSpan, callbacks: Callbacks, start: EpochProgress
) -> Iterator[EpochRecord]:
    """Train a span from `start` on, and yield a record after each epoch.

    Where `start` lies within an epoch, the engine holds the epoch's loss so far.

    Raises:
        UserError: the loss became NaN or inf; the message names the last good checkpoint.
    """
    start_step, progress = start.step, start
    while progress.step < span.end:
        level_epoch, first, end = span.find_epoch(progress.step, batches.epoch_steps)
        started = time.perf_counter() - progress.seconds
        engine.model.train()
        for step in range(progress.step, end):
            callbacks.before_step(step)
            engine.step(batches.training_batch(step, span.order), callbacks.learning_rate(step))
            if span.has_evaluation_after(step):
                progress.interim_evaluations.append(evaluate_within_epoch(engine, batches, step + 1, span))
            progress.step, progress.seconds = step + 1, time.perf_counter() - started
            callbacks.after_step(progress)
        train_loss = engine.take_loss() / (end - first)
        trained = time.perf_counter()
        evaluation = engine.evaluate(batches.validation_batches(), len(batches.valid_counts))
        if not math.isfinite(train_loss + evaluation.loss):
            raise loss_error(level_epoch, start_step + int(engine.finite), end, callbacks)
        yield EpochRecord(
            level_epoch=level_epoch,
            sparsity=counted_sparsity(callbacks.count_pruned()),
            train_loss=train_loss,
            valid_loss=evaluation.loss,
            accuracy=accuracy(evaluation.correct, batches.valid_counts),
            balanced_accuracy=balanced_accuracy(evaluation.correct, batches.valid_counts),
            seconds=time.perf_counter() - started,
            images_per_second=(end - first) * batches.batch_size / (trained - started),
            time=time.time(),
            step=end,
            correct=evaluation.correct,
            interim_evaluations=progress.interim_evaluations,
        )
        progress = EpochProgress(end)


def evaluate_within_epoch(engine: Engine, batches: Batches, step: int, span: TrainingSpan) -> InterimEvaluation:
    """Validate on the span's number of images, and leave the model in training mode."""
    evaluation = engine.evaluate(batches.validation_batches(span.evaluate_images), len(batches.valid_counts))
    engine.model.train()
    images = min(span.evaluate_images or batches.n_valid, batches.n_valid)
    return InterimEvaluation(step, evaluation.loss, sum(evaluation.correct) / images)


def loss_error(level_epoch: int, step: int, end: int, callbacks: Callbacks) -> UserError:
    """The error for an epoch up to step `end` whose loss was finite before `step`."""
    checkpoint, learning_rate = callbacks.last_good_checkpoint(), callbacks.learning_rate(min(step, end - 1))
    return UserError(
        f"training.learning_rate: the loss became NaN or inf in epoch {level_epoch} of the level, from step {step} on, "
        f"at a learning rate of {learning_rate:g}; lower it or training.weight_decay "
        f"({f'the last good checkpoint is {checkpoint}' if checkpoint else 'there is no good checkpoint'})"
    )
