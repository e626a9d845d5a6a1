"""How much longer a training step of a small network takes in lthrun than in a plain PyTorch loop.

    python -m tests.bench.small_network

LeNet-300-100 under a mask, batches of 60, Adam, one thread. The plain loop takes its batches from a float tensor, steps
torch.optim.Adam(fused=True) and multiplies the weights by their masks. Both train in interleaved rounds; the medians
and their ratio are printed. A step takes about 0.4 ms, so that what Python does per step counts.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import cross_entropy

from lthrun import events
from lthrun.bench.setup import prepare_bench
from lthrun.config.sections import Training
from lthrun.data.batches import Batches
from lthrun.experiments import load_config
from lthrun.sparsity.masks import Tensors, make_masks
from lthrun.training.engine import Engine
from lthrun.training.learning_rates import learning_rate_at
from lthrun.training.loop import EpochProgress, TrainingSpan, train_epochs
from lthrun.training.noise import seed_noise

CPU, SIDE, CLASSES, IMAGES, BATCH = torch.device("cpu"), 28, 10, 3000, 60
TRAINING = Training(optimizer="adam", learning_rate=1.2e-3, batch_size=BATCH)


def make_lenet(channels: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(SIDE * SIDE * channels, 300),
        nn.ReLU(),
        nn.Linear(300, 100),
        nn.ReLU(),
        nn.Linear(100, CLASSES),
    )


def make_weight_masks(model: nn.Module) -> Tensors:
    return make_masks({name: p.detach().abs() for name, p in model.named_parameters() if p.ndim == 2}, 80.0)


def draw_images(folder: Path) -> None:
    """Gray images of noise, by class."""
    rng = np.random.default_rng(0)
    for i in range(IMAGES):
        path = folder / str(i % CLASSES) / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE), np.uint8)).save(path)


def prepare_batches(folder: Path, stack: ExitStack) -> Batches:
    options: dict[str, Any] = {
        "data.dataset": "folder", "data.dir": str(folder), "data.image_size": SIDE, "training.batch_size": BATCH,
        "device": "cpu",
    }  # fmt: skip
    return prepare_bench(load_config(None, "baseline", options=options), stack, lambda *_, **__: None).batches


def make_plain_loop(batches: Batches) -> Callable[[int], float]:
    """The seconds of so many steps in the plain loop."""
    images, labels = (torch.cat(parts).contiguous() for parts in zip(*batches.center_crops("train", 256), strict=True))
    model = make_lenet(images.shape[1])
    masks = [(model.get_parameter(name), mask.float()) for name, mask in make_weight_masks(model).items()]
    optimizer = torch.optim.Adam(model.parameters(), TRAINING.learning_rate, TRAINING.betas, TRAINING.eps, fused=True)

    def run_epoch(steps: int) -> None:
        order = torch.randperm(len(images))
        for chosen in order.split(BATCH)[:steps]:
            optimizer.zero_grad(set_to_none=True)
            cross_entropy(model(images[chosen]), labels[chosen]).backward()
            optimizer.step()
            with torch.no_grad():
                for weight, mask in masks:
                    weight.mul_(mask)

    def run(steps: int) -> float:
        started = time.perf_counter()
        for first in range(0, steps, batches.epoch_steps):
            run_epoch(steps - first)
        return time.perf_counter() - started

    return run


class TimedCallbacks:
    """What a level does at each step, and the time of all steps, without the validation after each epoch."""

    def __init__(self, epoch_steps: int):
        self.epoch_steps = epoch_steps
        self.epochs: dict[int, float] = {}

    def learning_rate(self, step: int) -> float:
        return learning_rate_at(TRAINING, step, 50_000, self.epoch_steps)

    def before_step(self, step: int) -> None:
        seed_noise(0, step, CPU)

    def after_step(self, progress: EpochProgress) -> None:
        self.epochs[(progress.step - 1) // self.epoch_steps] = progress.seconds
        events.ignore(events.Step(0, 0, progress.step, self.epoch_steps, BATCH))

    def count_pruned(self) -> dict[str, tuple[int, int]]:
        return {"weight": (0, 1)}

    def last_good_checkpoint(self) -> None:
        return None


def make_lthrun(batches: Batches) -> Callable[[int], float]:
    """The seconds of so many steps in lthrun's loop."""
    model = make_lenet(batches.training_batch(0)[0].shape[1])
    engine = Engine(model, TRAINING, CPU, "float32", make_weight_masks(model))

    def run(steps: int) -> float:
        callbacks = TimedCallbacks(batches.epoch_steps)
        for _ in train_epochs(engine, batches, TrainingSpan(0, steps), callbacks, EpochProgress(0)):
            pass
        return sum(callbacks.epochs.values())

    return run


def measure(rounds: int, steps: int = 200) -> tuple[float, float]:
    """Milliseconds of a step, of the plain loop and of lthrun's: medians of interleaved rounds, after one to warm up."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        draw_images(Path(folder))
        batches = prepare_batches(Path(folder), stack)
        loops = make_plain_loop(batches), make_lthrun(batches)
        times = [[1000 * run(steps) / steps for run in loops] for _ in range(rounds + 1)][1:]
    plain, lthrun = (statistics.median(column) for column in zip(*times, strict=True))
    return plain, lthrun


if __name__ == "__main__":
    torch.set_num_threads(1)
    plain, lthrun = measure(rounds=15)
    print(f"a step of LeNet-300-100: plain {plain:.3f} ms, lthrun {lthrun:.3f} ms, ratio {lthrun / plain:.2f}")
