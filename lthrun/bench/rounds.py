"""Timing in interleaved rounds, and the figures that follow: epochs, medians, ranges and ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from lthrun.events import Busy, Emit

WARM_UPS, WARM_UP_STEPS = 2, 3


class Unavailable(Exception):
    """An implementation cannot be timed; the message says why."""


@dataclass
class Implementation:
    """A way to train the model.

    Attributes:
        train: seconds of so many training steps.
        validate: seconds of one validation of all validation images.
        unavailable: why it cannot be timed; None if it can.
        train_seconds, validate_seconds: the timing of each round.
    """

    name: str
    precision: str
    train: Callable[[int], float]
    validate: Callable[[], float]
    unavailable: str | None = None
    train_seconds: list[float] = field(default_factory=list)
    validate_seconds: list[float] = field(default_factory=list)


def unavailable(name: str, reason: str) -> Implementation:
    """The row of an implementation that cannot be timed here."""
    return Implementation(name, "float32", lambda steps: 0.0, lambda: 0.0, reason)


def run_rounds(implementations: Sequence[Implementation], rounds: int, steps: int, emit: Emit) -> None:
    """In each round, time `steps` training steps and one validation of each implementation.

    The speed of a machine drifts: interleaving spreads the drift evenly. Short warm-up rounds do not count: in the
    first, memory is allocated, kernels are chosen and workers start; in the second, the memory pages that the workers
    were forked with are copied, which takes as long as several steps.
    """
    for number in range(1 - WARM_UPS, rounds + 1):
        for implementation in implementations:
            if implementation.unavailable:
                continue
            what = f"round {number} of {rounds}" if number > 0 else "warming up"
            emit(Busy(f"{what}: {implementation.name}, {implementation.precision}"))
            try:
                train_seconds = implementation.train(steps if number > 0 else WARM_UP_STEPS)
                validate_seconds = implementation.validate()
            except Unavailable as error:
                implementation.unavailable = str(error)
                continue
            if number > 0:
                implementation.train_seconds.append(train_seconds)
                implementation.validate_seconds.append(validate_seconds)


def measure_seconds(device: torch.device, action: Callable[[], object]) -> float:
    """Seconds until the device has finished the action."""
    synchronize(device)
    started = time.perf_counter()
    action()
    synchronize(device)
    return time.perf_counter() - started


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def summarize(implementations: Sequence[Implementation], facts: Mapping[str, Any]) -> dict[str, Any]:
    """One object per implementation, the floor of each precision, and the fastest precision.

    The floor is the fastest that PyTorch's own ways to run the model reach. `facts` has the steps of a round and of an
    epoch, the batch size, and the precision that lthrun uses by default.
    """
    rows = [summarize_one(implementation, facts) for implementation in implementations]
    timed = [row for row in rows if row["skipped"] is None]
    floors: dict[str, dict[str, float]] = {}
    for row in timed:
        if row["name"].startswith("floor"):
            floor = floors.setdefault(row["precision"], {})
            for part in ("train", "validation"):
                floor[part] = min(floor.get(part, row[part]["median"]), row[part]["median"])
    epochs = {row["precision"]: row["epoch"] for row in timed if row["name"] == "lthrun"}
    for row in timed:
        row["x_floor"] = {part: row[part]["median"] / seconds for part, seconds in floors[row["precision"]].items()}
        row["x_lthrun"] = row["epoch"] / epochs[facts["precision"]]
    return {
        "implementations": rows,
        "floors": floors,
        "epochs": epochs,
        "fastest_precision": min(epochs, key=epochs.__getitem__),
    }


def summarize_one(implementation: Implementation, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Timings of each round, and scaled to an epoch."""
    row = {
        "name": implementation.name,
        "precision": implementation.precision,
        "skipped": implementation.unavailable,
    }
    if implementation.unavailable:
        return row
    scale = facts["epoch_steps"] / facts["steps"]
    train = median_and_range([seconds * scale for seconds in implementation.train_seconds])
    validation = median_and_range(implementation.validate_seconds)
    return row | {
        "turns": {"train": implementation.train_seconds, "validation": implementation.validate_seconds},
        "train": train,
        "validation": validation,
        "epoch": train["median"] + validation["median"],
        "images_per_second": facts["epoch_steps"] * facts["batch_size"] / train["median"],
    }


def median_and_range(seconds: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(seconds), "lowest": min(seconds), "highest": max(seconds)}
