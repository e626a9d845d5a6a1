"""What is timed. A new implementation is one function that makes it and one line in `IMPLEMENTATIONS`, within
`in_subprocess` if lthrun's memory settings must not apply to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from lthrun.bench.peer_process import start_fasterai
from lthrun.bench.plain_loop import PlainLoop
from lthrun.bench.rounds import Implementation, Unavailable, measure_seconds, unavailable
from lthrun.bench.setup import BenchmarkSetup
from lthrun.bench.subprocess_implementations import Maker, in_subprocess
from lthrun.sparsity.layer_selection import select_prunable
from lthrun.sparsity.masks import Tensors, make_masks
from lthrun.training.engine import Engine
from lthrun.training.optimizers import OPTIMIZERS

PRECISIONS = ("float32", "bfloat16")
SPARSITY = 50.0  # percent: lthrun and fasterai train under a mask, as three of a ticket's four levels do
MOST_WORKERS = 4


LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def make_floors(setup: BenchmarkSetup) -> Iterator[Implementation]:
    """The same model and optimizer, training on one resident batch; compiled on CUDA only."""
    compiled = (False, True) if setup.device.type == "cuda" else (False,)
    for precision, is_compiled, layout in product(PRECISIONS, compiled, LAYOUTS):
        yield make_floor(setup, layout, is_compiled, precision)


def make_floor(setup: BenchmarkSetup, layout: str, is_compiled: bool, precision: str) -> Implementation:
    """A way to run the model that PyTorch offers without further code."""
    device, batches, training = setup.device, setup.batches, setup.context.config.training
    model = setup.make_model().to(device, memory_format=LAYOUTS[layout])  # type: ignore[call-overload]
    optimizer = OPTIMIZERS[training.optimizer](model, training)
    # Compiled into CUDA graphs, the fastest of PyTorch's named modes.
    run = torch.compile(model, mode="reduce-overhead") if is_compiled else model
    (images, labels), (valid_images, _) = batches.training_batch(0), next(batches.validation_batches())
    images, valid_images = (batch.contiguous(memory_format=LAYOUTS[layout]) for batch in (images, valid_images))
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")

    def run_steps(count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad(set_to_none=True)
            with autocast:
                loss = cross_entropy(run(images), labels)
            torch.autograd.backward(loss)
            optimizer.step()

    @torch.no_grad()
    def run_forward(count: int) -> None:
        for _ in range(count):
            with autocast:
                run(valid_images)

    def try_to_measure(action: Callable[[], None]) -> float:
        try:
            return measure_seconds(device, action)
        except Exception as error:  # the compiler may be missing, or fail on the model in any way
            if not is_compiled or isinstance(error, torch.OutOfMemoryError):
                raise
            raise Unavailable(f"{type(error).__name__}: {error}".strip().splitlines()[0]) from error

    def train(count: int) -> float:
        model.train()
        return try_to_measure(lambda: run_steps(count))

    def validate() -> float:
        model.eval()
        count = min(4, -(-batches.n_valid // len(valid_images)))
        seconds = try_to_measure(lambda: run_forward(count))
        return seconds * batches.n_valid / (count * len(valid_images))

    return Implementation(f"floor {layout}" + (", compiled" if is_compiled else ""), precision, train, validate)


def make_lthruns(setup: BenchmarkSetup) -> Iterator[Implementation]:
    """lthrun's epoch as users get it, under a mask."""
    return (make_lthrun(setup, precision) for precision in PRECISIONS)


def make_lthrun(setup: BenchmarkSetup, precision: str) -> Implementation:
    device, batches, training = setup.device, setup.batches, setup.context.config.training
    engine = make_engine(setup, precision)
    step = 0

    def run_steps(count: int) -> None:
        nonlocal step
        for _ in range(count):
            engine.step(batches.training_batch(step), training.learning_rate)
            step += 1
        engine.take_loss()

    def train(count: int) -> float:
        engine.model.train()
        return measure_seconds(device, lambda: run_steps(count))

    def validate() -> float:
        classes = len(batches.valid_counts)
        return measure_seconds(device, lambda: engine.evaluate(batches.validation_batches(), classes))

    return Implementation("lthrun", precision, train, validate)


def make_engine(setup: BenchmarkSetup, precision: str) -> Engine:
    """lthrun's engine, with half of the weights pruned."""
    model, config = setup.make_model(), setup.context.config
    masks = make_half_masks(model, setup)
    return Engine(model, config.training, setup.device, precision, masks, emit=setup.emit)


def make_half_masks(model: nn.Module, setup: BenchmarkSetup) -> Tensors:
    """Masks that keep half of the prunable weights, by magnitude."""
    names = select_prunable(model, setup.context.config.layer_selection)
    return make_masks({name: model.get_parameter(name).detach().abs() for name in names}, SPARSITY)


def make_plain_loops(setup: BenchmarkSetup) -> Iterator[Implementation]:
    """The loop of PyTorch's tutorials, on the image files, with 0, 1, 2, … workers."""
    loop = PlainLoop(setup.make_model(), setup.context, setup.find_image_folder())
    for workers, named in count_workers().items():
        loaders = loop.make_loaders(workers)
        train, validate = partial(loop.train, loaders), partial(loop.validate, loaders)
        yield Implementation(f"plain PyTorch, {named}", "float32", train, validate)


def make_fasterais(setup: BenchmarkSetup) -> Iterator[Implementation]:
    """fasterai's lottery-ticket tutorial, in the environment of --peers: with its own number of workers, and others."""
    try:
        peer = start_fasterai(setup, SPARSITY)
    except Unavailable as error:
        yield unavailable("fasterai", str(error))
        return
    for workers, named in [(None, "as it comes"), *count_workers().items()]:
        measure = partial(peer.measure_seconds, workers)
        yield Implementation(f"fasterai, {named}", "float32", measure, measure)


def count_workers() -> dict[int, str]:
    """The numbers of workers that are tried, with their names."""
    return {n: "1 worker" if n == 1 else f"{n} workers" for n in range(min(os.cpu_count() or 1, MOST_WORKERS) + 1)}


IMPLEMENTATIONS: dict[str, Maker] = {
    "floor": in_subprocess(make_floors),
    "lthrun": make_lthruns,
    "plain PyTorch": in_subprocess(make_plain_loops),
    "fasterai": make_fasterais,
}
