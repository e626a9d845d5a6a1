"""Epochs of steps, each ending in a record."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lthrun.data.batches import Batches
from lthrun.errors import UserError
from lthrun.report.statistics import accuracy, balanced_accuracy
from lthrun.sparsity import masks as masking
from lthrun.training.engine import Engine

Counts = dict[str, list[int]]


@dataclass(frozen=True)
class Record:
    """What one epoch found. Losses are means, accuracies are 0 to 1, sparsity is percent; `correct` counts the right
    answers per class; `step` is the clock after the epoch."""

    level_epoch: int
    sparsity: float
    train_loss: float
    valid_loss: float
    accuracy: float
    balanced_accuracy: float
    seconds: float
    images_per_second: float
    time: float
    step: int
    correct: list[int]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def epochs(
    engine: Engine,
    batches: Batches,
    start: int,
    first: int,
    end: int,
    rate: Callable[[int], float],
    measure: Callable[[], Counts],
    before_step: Callable[[int], None],
    on_step: Callable[[int, int, int, float], None],
    last_good: Callable[[], Path | None],
    spent: float = 0.0,
) -> Iterator[Record]:
    """Train from step `start` up to step `end` of a level that began at step `first`.

    An epoch is `batches.epoch_steps` steps counted from `first`, wherever the clock stands; the last one
    may be shorter. `rate(step)` is the learning rate and `measure()` counts the pruned weights. Calls
    `before_step(step)`, and after it `on_step(level_epoch, steps done in its epoch, its steps, its seconds)`.
    Where `start` lies within an epoch, the loss so far is in the engine, and `spent` is the seconds it took.

    Raises:
        UserError: the loss is no longer a number; the message names the checkpoint that `last_good()` finds.
    """
    began_at = start
    while start < end:
        level_epoch = (start - first) // batches.epoch_steps
        opened = first + level_epoch * batches.epoch_steps
        stop = min(opened + batches.epoch_steps, end)
        began = time.perf_counter() - spent
        engine.model.train()
        for step in range(start, stop):
            before_step(step)
            engine.step(batches.training(step), rate(step))
            on_step(level_epoch, step + 1 - opened, stop - opened, time.perf_counter() - began)
        train_loss = engine.take_loss() / (stop - opened)
        trained = time.perf_counter()
        found = engine.evaluate(batches.validation(), len(batches.valid_counts))
        if not math.isfinite(train_loss + found.loss):
            step = began_at + int(engine.finite)
            used, path = rate(min(step, stop - 1)), last_good()
            raise UserError(
                f"training.learning_rate: the loss is no longer a number in epoch {level_epoch} of the level, "
                f"from step {step} on, at a learning rate of {used:g}; lower it or training.weight_decay "
                f"({f'the last good checkpoint is {path}' if path else 'there is no good checkpoint'})"
            )
        yield Record(
            level_epoch=level_epoch,
            sparsity=masking.sparsity(measure()),
            train_loss=train_loss,
            valid_loss=found.loss,
            accuracy=accuracy(found.correct, batches.valid_counts),
            balanced_accuracy=balanced_accuracy(found.correct, batches.valid_counts),
            seconds=time.perf_counter() - began,
            images_per_second=(stop - opened) * batches.batch_size / (trained - began),
            time=time.time(),
            step=stop,
            correct=found.correct,
        )
        start, spent = stop, 0.0
