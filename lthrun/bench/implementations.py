"""What is timed. A new implementation is one function that makes it and one line in `IMPLEMENTATIONS`, within
`in_subprocess` if lthrun's memory settings must not apply to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lthrun.bench.peer_process import PeerProcess
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


@dataclass(frozen=True)
class StockPyTorch:
    """A way to run a model that PyTorch offers without further code."""

    memory_format: torch.memory_format
    is_compiled: bool = False


STOCK = {
    "contiguous": StockPyTorch(torch.contiguous_format),
    "channels_last": StockPyTorch(torch.channels_last),
    "contiguous, compiled": StockPyTorch(torch.contiguous_format, is_compiled=True),
    "channels_last, compiled": StockPyTorch(torch.channels_last, is_compiled=True),
}


def make_floors(setup: BenchmarkSetup) -> Iterator[Implementation]:
    """The same model and optimizer, training on one resident batch; compiled on CUDA only."""
    for precision in PRECISIONS:
        for name, stock in STOCK.items():
            if setup.device.type == "cuda" or not stock.is_compiled:
                yield make_floor(setup, f"floor {name}", stock, precision)


def make_floor(setup: BenchmarkSetup, name: str, stock: StockPyTorch, precision: str) -> Implementation:
    device, batches, training = setup.device, setup.batches, setup.context.config.training
    model = setup.make_model().to(device, memory_format=stock.memory_format)  # type: ignore[call-overload]
    optimizer = OPTIMIZERS[training.optimizer](model, training)
    # Compiled into CUDA graphs, the fastest of PyTorch's named modes.
    run = torch.compile(model, mode="reduce-overhead") if stock.is_compiled else model
    images, labels = in_memory_format(batches.training_batch(0), stock)
    valid_images, _ = in_memory_format(next(batches.validation_batches()), stock)
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
            if not stock.is_compiled or isinstance(error, torch.OutOfMemoryError):
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

    return Implementation(name, precision, train, validate)


def in_memory_format(batch: tuple[Tensor, Tensor], stock: StockPyTorch) -> tuple[Tensor, Tensor]:
    return batch[0].contiguous(memory_format=stock.memory_format), batch[1]


def make_lthruns(setup: BenchmarkSetup) -> Iterator[Implementation]:
    """lthrun's epoch as users get it, under a mask."""
    for precision in PRECISIONS:
        yield make_lthrun(setup, precision)


def make_lthrun(setup: BenchmarkSetup, precision: str) -> Implementation:
    device, batches, training = setup.device, setup.batches, setup.context.config.training
    model = setup.make_model()
    masks = make_half_masks(model, setup)
    engine = Engine(model, training, device, precision, masks, emit=setup.emit)
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


def make_half_masks(model: nn.Module, setup: BenchmarkSetup) -> Tensors:
    """Masks that keep half of the prunable weights, by magnitude."""
    names = select_prunable(model, setup.context.config.layer_selection)
    return make_masks({name: model.get_parameter(name).detach().abs() for name in names}, SPARSITY)


def make_plain_loops(setup: BenchmarkSetup) -> Iterator[Implementation]:
    """The loop of PyTorch's tutorials, on the image files, with 0, 1, 2, … workers."""
    loop = PlainLoop(setup.make_model(), setup.context, setup.find_image_folder())
    for workers in worker_counts():
        loaders = loop.make_loaders(workers)
        name = f"plain PyTorch, {count_workers(workers)}"
        yield Implementation(name, "float32", loop.make_train(loaders), loop.make_validate(loaders))


def make_fasterais(setup: BenchmarkSetup) -> Iterator[Implementation]:
    """fasterai's lottery-ticket tutorial, in the environment of --peers."""
    try:
        peer = setup.stack.enter_context(
            PeerProcess.start_fasterai(setup.peers, setup.context, setup.find_image_folder(), SPARSITY)
        )
    except Unavailable as error:
        yield unavailable("fasterai", str(error))
        return
    yield Implementation("fasterai, as it comes", "float32", peer.make_train(None), peer.make_validate(None))
    for workers in worker_counts():
        name = f"fasterai, {count_workers(workers)}"
        yield Implementation(name, "float32", peer.make_train(workers), peer.make_validate(workers))


def worker_counts() -> range:
    return range(min(os.cpu_count() or 1, MOST_WORKERS) + 1)


def count_workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"


IMPLEMENTATIONS: dict[str, Maker] = {
    "floor": in_subprocess(make_floors),
    "lthrun": make_lthruns,
    "plain PyTorch": in_subprocess(make_plain_loops),
    "fasterai": make_fasterais,
}
