"""Gets a level: from the cache, or by training it."""

from __future__ import annotations

from dataclasses import replace

import torch

from lthrun.events import LevelReused, Replaying, Step, Waiting, only
from lthrun.levels.builder import LevelBuilder
from lthrun.levels.environment import describe_environment, list_environment_differences
from lthrun.levels.plan import Level
from lthrun.levels.trainer import LevelTrainer
from lthrun.records import LevelRecord


def get_or_train(builder: LevelBuilder, level: Level, is_replay: bool = False) -> tuple[LevelRecord, bool]:
    """The level's record, and whether a cached level was reused; its epochs are emitted either way.

    The levels that it needs must be finished. A replay only reaches a rewind point, so its epochs are not part of the
    run.
    """
    emit = only(Step, builder.emit) if is_replay else builder.emit
    with builder.levels.lock(level.key, lambda: builder.emit(Waiting(f"level {level.index} ({level.key})"))):
        builder.emit_saved(level, 0, emit)
        record = None if builder.fresh else reuse_level(builder, level)
        if record is not None:
            differences = list_environment_differences(record.environment, describe_environment(builder.device))
            builder.emit(LevelReused(level.index, level.key, is_replay, tuple(differences)))
            builder.emit_epochs(level, record.epochs, emit, record.test)
            return with_layers(builder, level, record), True
        if is_replay:
            builder.emit(Replaying(level.end))
        trainer = LevelTrainer(builder, level, emit)
        # Layers that draw random numbers in training, such as dropout, are seeded at every step.
        with torch.random.fork_rng([builder.device] if builder.device.type == "cuda" else []):
            record = trainer.train() if level.steps else trainer.evaluate()
        return with_layers(builder, level, record), False


def reuse_level(builder: LevelBuilder, level: Level) -> LevelRecord | None:
    """The record of the level, if it is cached and whole."""
    facts = builder.levels.reuse(level.key, builder.report_damage(level, "result"))
    return None if facts is None else LevelRecord.from_dict(facts)


def with_layers(builder: LevelBuilder, level: Level, record: LevelRecord) -> LevelRecord:
    """The record with the layers that this config prunes: a dense level may come from a run that prunes others."""
    if level.is_masked:
        return record
    return replace(record, layers={name: (0, size) for name, size in builder.states.sizes.items()})
