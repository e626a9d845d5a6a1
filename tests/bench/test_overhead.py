"""The benchmark of what is not steps, on events of known times."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lthrun.bench.overhead import PARTS, measure_overhead, split_run
from lthrun.events import EpochFinished, Event, Step, ignore
from lthrun.records import EpochRecord


def epoch(level: int, seconds: float) -> EpochFinished:
    record = EpochRecord(
        level_epoch=0, sparsity=0.0, train_loss=1.0, valid_loss=1.0, accuracy=0.5, balanced_accuracy=0.5,
        seconds=seconds, images_per_second=1.0, time=0.0, step=2, correct=[1, 1],
    )  # fmt: skip
    return EpochFinished(level, record)


def test_parts_are_the_times_between_events():
    events: list[tuple[float, Event]] = [
        (3.0, Step(0, 0, 1, 2, 8)), (3.5, Step(0, 0, 2, 2, 8)), (4.5, epoch(0, 1.5)),
        (5.0, Step(0, 1, 1, 2, 8)), (5.5, Step(0, 1, 2, 2, 8)), (7.5, epoch(0, 1.0)),
        (9.0, Step(1, 0, 1, 2, 8)), (9.25, Step(1, 0, 2, 2, 8)), (10.25, epoch(1, 1.25)),
    ]  # fmt: skip
    parts = list(split_run(events, 1.0, 11.0))
    assert parts == [
        ("start", 2.0), ("step", 0.5), ("step", 0.5), ("epoch", 1.0), ("level end", 2.0), ("first epoch", 0.5),
        ("level", 1.5), ("step", 0.25), ("level end", 1.0), ("run end", 0.75),
    ]  # fmt: skip


@pytest.mark.usefixtures("tiny_model")
def test_every_part_of_a_small_run_is_measured(small: Callable, lthrun: Callable, images: Path):
    found = measure_overhead(small("baseline", **{"training.batch_size": 24}), 1, ignore)
    assert [row["part"] for row in found["parts"]] == list(PARTS.values())
    shown = lthrun("bench", "--overhead", "--data-dir", images, "--set", "data.image_size=16", "--rounds", 1,
                   "--set", "training.batch_size=24", "--set", "training.epochs=2")  # fmt: skip
    assert shown.status == 0 and "an evaluated mask of a supermask" in shown.out
    names = ["import torch", "ticket", "ticket again", "supermask"]
    assert [line for line in shown.err.splitlines() if "round" in line] == [f"round 1 of 1: {name}" for name in names]
