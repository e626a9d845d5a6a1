"""How much longer a training step of a small network takes in lthrun than in a plain PyTorch loop.

    python -m tests.bench.small_network

LeNet-300-100 under a mask, batches of 60, Adam, one thread. The plain loop takes its batches from a float tensor, steps
torch.optim.Adam(fused=True) and multiplies the weights by their masks. lthrun's steps are those of the second level of
real tickets, by their records, validation left out. Both train in interleaved rounds; the medians and their ratio are
printed, in processor time, which other work on the machine adds little to. On a free core a step takes about 0.4 ms, so
that what Python does per step counts.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import cross_entropy

from lthrun.bench.setup import prepare_bench
from lthrun.config.base import ExperimentConfig
from lthrun.data.batches import Batches
from lthrun.executors.tasks import RunOptions
from lthrun.experiments import load_config, run_experiment
from lthrun.models import build_model
from lthrun.sparsity.masks import make_masks
from lthrun.training import loop

SIDE, CLASSES, IMAGES, BATCH = 28, 10, 3000, 60


def draw_images(folder: Path) -> None:
    """Gray images of noise, by class."""
    rng = np.random.default_rng(0)
    for i in range(IMAGES):
        path = folder / str(i % CLASSES) / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE), np.uint8)).save(path)


def make_config(folder: Path, epochs: int) -> ExperimentConfig:
    options: dict[str, Any] = {
        "data.dataset": "folder", "data.dir": str(folder), "data.image_size": SIDE, "device": "cpu",
        "model.name": "lenet300", "training.epochs": epochs, "training.batch_size": BATCH, "training.optimizer": "adam",
        "training.learning_rate": 1.2e-3, "pruning.steps": 1, "pruning.sparsity": 80, "pruning.classifier": True,
    }  # fmt: skip
    return load_config(None, "ticket", options=options)


def prepare_batches(folder: Path, stack: ExitStack) -> Batches:
    return prepare_bench(make_config(folder, 1), stack, lambda *_, **__: None).batches


def make_plain_loop(batches: Batches) -> Callable[[int], float]:
    """The seconds of a step in so many epochs of the plain loop."""
    images, labels = (torch.cat(parts).contiguous() for parts in zip(*batches.center_crops("train", 256), strict=True))
    model = build_model("lenet300", CLASSES, 0, channels=images.shape[1], image_size=SIDE)
    weights = {name: p for name, p in model.named_parameters() if p.ndim == 2}
    kept = make_masks({name: weight.detach().abs() for name, weight in weights.items()}, 80.0)
    masks = [(weight, kept[name].float()) for name, weight in weights.items()]
    optimizer = torch.optim.Adam(model.parameters(), 1.2e-3, fused=True)

    def run_epoch() -> None:
        order = torch.randperm(len(images))
        for chosen in order.split(BATCH)[: batches.epoch_steps]:
            optimizer.zero_grad(set_to_none=True)
            cross_entropy(model(images[chosen]), labels[chosen]).backward()
            optimizer.step()
            with torch.no_grad():
                for weight, mask in masks:
                    weight.mul_(mask)

    def run(epochs: int) -> float:
        started = time.thread_time()
        for _ in range(epochs):
            run_epoch()
        return (time.thread_time() - started) / (epochs * batches.epoch_steps)

    return run


def make_lthrun(folder: Path, out: Path) -> Callable[[int], float]:
    """The seconds of a step in so many epochs of a level under a mask."""

    def run(epochs: int) -> float:
        with mock.patch.object(loop, "time", SimpleNamespace(perf_counter=time.thread_time, time=time.time)):
            metrics = run_experiment(make_config(folder, epochs), RunOptions(out, fresh=True)).metrics
        return statistics.mean(BATCH / line["images_per_second"] for line in metrics if line["level"] == 1)

    return run


def measure(rounds: int, epochs: int) -> tuple[float, float]:
    """Milliseconds of a step, of the plain loop and of lthrun's: medians of interleaved rounds, after one to warm up."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as out, ExitStack() as stack:
        draw_images(Path(folder))
        loops = make_plain_loop(prepare_batches(Path(folder), stack)), make_lthrun(Path(folder), Path(out))
        times = [[1000 * run(epochs) for run in loops] for _ in range(rounds + 1)][1:]
    plain, lthrun = (statistics.median(column) for column in zip(*times, strict=True))
    return plain, lthrun


if __name__ == "__main__":
    torch.set_num_threads(1)
    plain, lthrun = measure(rounds=15, epochs=5)
    print(f"a step of LeNet-300-100: plain {plain:.3f} ms, lthrun {lthrun:.3f} ms, ratio {lthrun / plain:.2f}")
