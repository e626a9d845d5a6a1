"""Epochs of steps, each ending in a record."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lthrun.analysis.intervals import accuracy, balanced_accuracy
from lthrun.data.batches import Batches
from lthrun.errors import UserError
from lthrun.records import EpochRecord, InterimEvaluation, LayerCounts
from lthrun.sparsity import masks as masking
from lthrun.training.engine import Engine


@dataclass(frozen=True)
class TrainingSpan:
    """What is trained: from step `first` up to step `end` of the clock, in an `order` of the images.

    It is validated `every` so many steps and at the end, on `images` of the validation images if not on all.
    """

    first: int
    end: int
    order: int = 0
    every: int | None = None
    images: int | None = None


def epochs(
    engine: Engine,
    batches: Batches,
    span: TrainingSpan,
    start: int,
    rate: Callable[[int], float],
    measure: Callable[[], LayerCounts],
    before_step: Callable[[int], None],
    on_step: Callable[[int, int, int, float, Sequence[InterimEvaluation]], None],
    last_good: Callable[[], Path | None],
    spent: float = 0.0,
    looks: Sequence[InterimEvaluation] = (),
) -> Iterator[EpochRecord]:
    """Train a span from step `start` on.

    An epoch is `batches.epoch_steps` steps counted from the span's first, wherever the clock stands; the last one
    may be shorter. `rate(step)` is the learning rate and `measure()` counts the pruned weights. Calls
    `before_step(step)`, and after it `on_step(level_epoch, steps done in its epoch, its steps, its seconds, looks)`.
    Where `start` lies within an epoch, the loss so far is in the engine; `spent` is the seconds and `looks` are the
    validations of it so far.

    Raises:
        UserError: the loss is no longer a number; the message names the checkpoint that `last_good()` finds.
    """
    began_at, seen = start, list(looks)
    while start < span.end:
        level_epoch = (start - span.first) // batches.epoch_steps
        opened = span.first + level_epoch * batches.epoch_steps
        stop = min(opened + batches.epoch_steps, span.end)
        began = time.perf_counter() - spent
        engine.model.train()
        for step in range(start, stop):
            before_step(step)
            engine.step(batches.training_batch(step, span.order), rate(step))
            if span.every and ((step + 1 - span.first) % span.every == 0 or step + 1 == span.end):
                seen.append(look(engine, batches, step + 1, span.images))
            on_step(level_epoch, step + 1 - opened, stop - opened, time.perf_counter() - began, seen)
        train_loss = engine.take_loss() / (stop - opened)
        trained = time.perf_counter()
        found = engine.evaluate(batches.validation_batches(), len(batches.valid_counts))
        if not math.isfinite(train_loss + found.loss):
            step = began_at + int(engine.finite)
            used, path = rate(min(step, stop - 1)), last_good()
            raise UserError(
                f"training.learning_rate: the loss is no longer a number in epoch {level_epoch} of the level, "
                f"from step {step} on, at a learning rate of {used:g}; lower it or training.weight_decay "
                f"({f'the last good checkpoint is {path}' if path else 'there is no good checkpoint'})"
            )
        yield EpochRecord(
            level_epoch=level_epoch,
            sparsity=masking.counted_sparsity(measure()),
            train_loss=train_loss,
            valid_loss=found.loss,
            accuracy=accuracy(found.correct, batches.valid_counts),
            balanced_accuracy=balanced_accuracy(found.correct, batches.valid_counts),
            seconds=time.perf_counter() - began,
            images_per_second=(stop - opened) * batches.batch_size / (trained - began),
            time=time.time(),
            step=stop,
            correct=found.correct,
            interim_evaluations=seen,
        )
        start, spent, seen = stop, 0.0, []


def look(engine: Engine, batches: Batches, step: int, images: int | None) -> InterimEvaluation:
    """A validation within an epoch; training goes on afterwards."""
    found = engine.evaluate(batches.validation_batches(images), len(batches.valid_counts))
    engine.model.train()
    seen = batches.n_valid if images is None else min(images, batches.n_valid)
    return InterimEvaluation(step, found.loss, sum(found.correct) / seen)
