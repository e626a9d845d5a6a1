"""Timing in interleaved rounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

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
