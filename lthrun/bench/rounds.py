"""Contestants that take turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from lthrun.levels.context import Emit

WARM_UPS, WARM_UP_STEPS = 2, 3


class Absent(Exception):
    """A contestant cannot take part; the message says why."""


@dataclass
class Contestant:
    """Whoever trains. Both functions give seconds: of so many training steps, and of validating all images once."""

    name: str
    precision: str
    train: Callable[[int], float]
    validate: Callable[[], float]
    skipped: str | None = None
    trained: list[float] = field(default_factory=list)
    validated: list[float] = field(default_factory=list)


def skipped(name: str, why: str) -> Contestant:
    """The row of a contestant that is not there."""
    return Contestant(name, "float32", lambda steps: 0.0, lambda: 0.0, why)


def compete(contestants: Sequence[Contestant], rounds: int, steps: int, emit: Emit) -> None:
    """Round-robin: in each round everybody has one turn of `steps` training steps and one validation.

    A machine's speed drifts; taking turns, the drift meets everybody. Short rounds beforehand do not count: in the
    first memory is found, kernels are chosen and workers start; in the second the pages that the workers were
    forked with are copied, which takes as long as several steps.
    """
    for number in range(1 - WARM_UPS, rounds + 1):
        for contestant in contestants:
            if contestant.skipped:
                continue
            what = f"round {number} of {rounds}" if number > 0 else "warming up"
            emit("busy", doing=f"{what}: {contestant.name}, {contestant.precision}")
            try:
                trained = contestant.train(steps if number > 0 else WARM_UP_STEPS)
                validated = contestant.validate()
            except Absent as error:
                contestant.skipped = str(error)
                continue
            if number > 0:
                contestant.trained.append(trained)
                contestant.validated.append(validated)


def timed(device: torch.device, action: Callable[[], object]) -> float:
    """Seconds until the device has done it."""
    wait(device)
    began = time.perf_counter()
    action()
    wait(device)
    return time.perf_counter() - began


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
