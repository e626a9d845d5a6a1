"""Where the time of a training step goes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from lthrun.bench.contestants import half
from lthrun.bench.rounds import WARM_UP_STEPS, timed, wait
from lthrun.bench.setup import Arena
from lthrun.sparsity.masks import MaskHook
from lthrun.training.engine import Engine

OPERATORS = 10
TRACED_STEPS = 5


class Parts:
    """A step of an engine under a mask, taken apart: each part by itself, in the order of a step."""

    def __init__(self, arena: Arena):
        context = arena.context
        self.batches, self.device = arena.batches, arena.device
        model = arena.model()
        masks = half(model, context)
        self.engine = Engine(model, context.config.training, context.device, context.conditions.precision, {})
        self.hold = MaskHook(dict(self.engine.model.named_parameters()), masks, self.engine.optimizer)
        self.hold.remove()  # it is applied as a part of its own
        self.engine.model.train()
        self.at = 0
        self.batch: tuple[Tensor, Tensor]
        self.loss: Tensor
        self.total = torch.zeros((), device=self.device)

    def data(self) -> None:
        images, labels = self.batches.training_batch(self.at)
        self.batch = images.contiguous(memory_format=self.engine.layout), labels
        self.at += 1

    def forward(self) -> None:
        images, labels = self.batch
        with self.engine.autocast():
            self.loss = cross_entropy(self.engine.model(images), labels)

    def backward(self) -> None:
        torch.autograd.backward(self.loss)

    def optimizer(self) -> None:
        self.engine.optimizer.step()
        self.engine.optimizer.zero_grad(set_to_none=True)

    def mask(self) -> None:
        self.hold.apply()

    def loss_sum(self) -> None:
        self.total += self.loss.detach()


PARTS: dict[str, Callable[[Parts], None]] = {
    "data": Parts.data,
    "forward": Parts.forward,
    "backward": Parts.backward,
    "optimizer": Parts.optimizer,
    "mask": Parts.mask,
    "loss bookkeeping": Parts.loss_sum,
}


def profile(arena: Arena) -> dict[str, Any]:
    """Milliseconds of a step: of its parts, of all of it, of `Engine.step` itself; and its costliest operators."""
    parts, context, steps = Parts(arena), arena.context, arena.steps
    taken_apart(parts, WARM_UP_STEPS)
    if context.device.type == "cuda":
        total = timed(context.device, lambda: taken_apart(parts, steps)) / steps
        found = on_device(parts, steps, total)
    else:
        began = time.perf_counter()
        found = taken_apart(parts, steps)
        total = (time.perf_counter() - began) / steps
    model = arena.model()
    engine = Engine(model, context.config.training, context.device, context.conditions.precision, half(model, context))
    engine.model.train()

    def real(count: int) -> None:
        for step in range(count):
            engine.step(arena.batches.training_batch(step))
        engine.take_loss()

    real(engine.warm_ups + WARM_UP_STEPS)
    whole = timed(context.device, lambda: real(steps)) / steps
    rows = [{"part": name, "ms": 1000 * seconds} for name, seconds in found.items()]
    rows.append({"part": "the rest (host gaps)", "ms": 1000 * max(0.0, total - sum(found.values()))})
    return {
        "precision": context.conditions.precision,
        "parts": rows,
        "step_ms": 1000 * total,
        "engine_step_ms": 1000 * whole,
        **operators(real, context.device, min(steps, TRACED_STEPS)),
    }


def taken_apart(parts: Parts, steps: int) -> dict[str, float]:
    """Seconds per step of each part, by the host's clock."""
    spent = dict.fromkeys(PARTS, 0.0)
    for _ in range(steps):
        for name, part in PARTS.items():
            began = time.perf_counter()
            part(parts)
            spent[name] += time.perf_counter() - began
    return {name: seconds / steps for name, seconds in spent.items()}


def on_device(parts: Parts, steps: int, seconds: float) -> dict[str, float]:
    """Seconds per step of each part on a CUDA device, without the gaps in which it waits for the host.

    The device sleeps while the host runs ahead through a step; then it does the parts one after the other.
    """
    cycles = int(4e9 * seconds)  # longer than the host takes for a step, at any clock rate
    spent = dict.fromkeys(PARTS, 0.0)
    for _ in range(steps):
        marks = [torch.cuda.Event(enable_timing=True) for _ in range(len(PARTS) + 1)]  # type: ignore[no-untyped-call]
        torch.cuda._sleep(cycles)  # type: ignore[no-untyped-call]
        marks[0].record()
        for part, mark in zip(PARTS.values(), marks[1:], strict=True):
            part(parts)
            mark.record()
        wait(parts.device)
        for name, before, after in zip(PARTS, marks, marks[1:], strict=False):
            spent[name] += before.elapsed_time(after) / 1000
    return {name: total / steps for name, total in spent.items()}


def operators(real: Callable[[int], None], device: torch.device, steps: int) -> dict[str, Any]:
    """The costliest operators of `Engine.step`, by their own time, and how long the device computes per step."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it complains where there is no GPU
    kinds = torch.profiler.ProfilerActivity
    on_gpu = device.type == "cuda"
    with torch.profiler.profile(activities=[kinds.CPU, kinds.CUDA] if on_gpu else [kinds.CPU]) as trace:
        real(steps)
        wait(device)
    own = {
        event.key: (event.count, (event.self_device_time_total if on_gpu else event.self_cpu_time_total) / 1000)
        for event in trace.key_averages()
    }
    busy = sum(ms for _, ms in own.values())
    costly = sorted(own.items(), key=lambda item: item[1][1], reverse=True)[:OPERATORS]
    return {
        "device_busy_ms": busy / steps if on_gpu else None,
        "operators": [
            {"operator": name, "calls": count / steps, "ms": ms / steps, "percent": 100 * ms / busy if busy else 0.0}
            for name, (count, ms) in costly
        ],
    }
