"""Where the time of a training step goes: by part, and by operator."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from lthrun.bench.implementations import make_engine, make_half_masks
from lthrun.bench.rounds import WARM_UP_STEPS, measure_seconds, synchronize
from lthrun.bench.setup import BenchmarkSetup
from lthrun.sparsity.masks import MaskHook
from lthrun.training.engine import Engine

OPERATORS = 10
TRACED_STEPS = 5


class StepParts:
    """A step of an engine under a mask in parts, which are called in the order of a step."""

    def __init__(self, setup: BenchmarkSetup):
        context = setup.context
        self.batches, self.device = setup.batches, setup.device
        model = setup.make_model()
        masks = make_half_masks(model, setup)
        self.engine = Engine(model, context.config.training, context.device, context.conditions.precision, {})
        self.mask_hook = MaskHook(dict(self.engine.model.named_parameters()), masks, self.engine.optimizer)
        self.mask_hook.remove()  # the mask is a part of its own
        self.engine.model.train()
        self.next_step = 0
        self.batch: tuple[Tensor, Tensor]
        self.loss: Tensor
        self.total = torch.zeros((), device=self.device)

    def data(self) -> None:
        images, labels = self.batches.training_batch(self.next_step)
        self.batch = images.contiguous(memory_format=self.engine.layout), labels
        self.next_step += 1

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
        self.mask_hook.apply()

    def add_loss(self) -> None:
        self.total += self.loss.detach()


PARTS: dict[str, Callable[[StepParts], None]] = {
    "data": StepParts.data,
    "forward": StepParts.forward,
    "backward": StepParts.backward,
    "optimizer": StepParts.optimizer,
    "mask": StepParts.mask,
    "loss bookkeeping": StepParts.add_loss,
}


def profile_step(setup: BenchmarkSetup) -> dict[str, Any]:
    """Milliseconds of the parts of a step, of all of them, and of `Engine.step` itself; and the costliest operators."""
    parts, context, steps = StepParts(setup), setup.context, setup.steps
    measure_parts(parts, WARM_UP_STEPS)
    if context.device.type == "cuda":
        total = measure_seconds(context.device, lambda: measure_parts(parts, steps)) / steps
        seconds = measure_parts_on_cuda(parts, steps, total)
    else:
        started = time.perf_counter()
        seconds = measure_parts(parts, steps)
        total = (time.perf_counter() - started) / steps
    engine = make_engine(setup, context.conditions.precision)
    engine.model.train()

    def run_steps(count: int) -> None:
        for step in range(count):
            engine.step(setup.batches.training_batch(step))
        engine.take_loss()

    run_steps(engine.warm_ups + WARM_UP_STEPS)
    engine_seconds = measure_seconds(context.device, lambda: run_steps(steps)) / steps
    rows = [{"part": name, "ms": 1000 * part} for name, part in seconds.items()]
    rows.append({"part": "the rest (host gaps)", "ms": 1000 * max(0.0, total - sum(seconds.values()))})
    return {
        "precision": context.conditions.precision,
        "parts": rows,
        "step_ms": 1000 * total,
        "engine_step_ms": 1000 * engine_seconds,
        **profile_operators(run_steps, context.device, min(steps, TRACED_STEPS)),
    }


def measure_parts(parts: StepParts, steps: int) -> dict[str, float]:
    """Seconds per step of each part, by the host's clock."""
    seconds = dict.fromkeys(PARTS, 0.0)
    for _ in range(steps):
        for name, part in PARTS.items():
            started = time.perf_counter()
            part(parts)
            seconds[name] += time.perf_counter() - started
    return {name: total / steps for name, total in seconds.items()}


def measure_parts_on_cuda(parts: StepParts, steps: int, step_seconds: float) -> dict[str, float]:
    """Seconds per step of each part on a CUDA device, without the gaps in which it waits for the host.

    The device sleeps while the host launches all kernels of a step; then it runs the parts without gaps.
    """
    cycles = int(4e9 * step_seconds)  # longer than the host takes for a step, at any clock rate
    seconds = dict.fromkeys(PARTS, 0.0)
    for _ in range(steps):
        marks = [torch.cuda.Event(enable_timing=True) for _ in range(len(PARTS) + 1)]  # type: ignore[no-untyped-call]
        torch.cuda._sleep(cycles)  # type: ignore[no-untyped-call]
        marks[0].record()
        for part, mark in zip(PARTS.values(), marks[1:], strict=True):
            part(parts)
            mark.record()
        synchronize(parts.device)
        for name, before, after in zip(PARTS, marks, marks[1:], strict=False):
            seconds[name] += before.elapsed_time(after) / 1000
    return {name: total / steps for name, total in seconds.items()}


def profile_operators(run_steps: Callable[[int], None], device: torch.device, steps: int) -> dict[str, Any]:
    """The costliest operators of `Engine.step`, by self time, and the time per step in which the device computes."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it warns where there is no GPU
    activities = torch.profiler.ProfilerActivity
    on_gpu = device.type == "cuda"
    with torch.profiler.profile(activities=[activities.CPU, activities.CUDA] if on_gpu else [activities.CPU]) as trace:
        run_steps(steps)
        synchronize(device)
    self_times = {
        event.key: (event.count, (event.self_device_time_total if on_gpu else event.self_cpu_time_total) / 1000)
        for event in trace.key_averages()
    }
    busy = sum(ms for _, ms in self_times.values())
    costliest = sorted(self_times.items(), key=lambda item: item[1][1], reverse=True)[:OPERATORS]
    return {
        "device_busy_ms": busy / steps if on_gpu else None,
        "operators": [
            {"operator": name, "calls": count / steps, "ms": ms / steps, "percent": 100 * ms / busy if busy else 0.0}
            for name, (count, ms) in costliest
        ],
    }
