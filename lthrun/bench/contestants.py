"""Who takes part. A new contestant is one function that makes it, and one line in `CONTESTANTS`, within `elsewhere` if
it must not have lthrun's memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lthrun.bench.peers import Peer
from lthrun.bench.plain import Plain
from lthrun.bench.rounds import Absent, Contestant, skipped, timed
from lthrun.bench.setup import Arena
from lthrun.bench.subprocess_contestants import Maker, elsewhere
from lthrun.events import CudaGraphFallback, Event
from lthrun.experiments.context import Emit, RunContext
from lthrun.sparsity import masks as masking
from lthrun.sparsity.layer_selection import select_prunable
from lthrun.training.engine import Engine
from lthrun.training.optimizers import OPTIMIZERS

PRECISIONS = ("float32", "bfloat16")
HELD = 50.0  # percent: lthrun and fasterai train under a mask, as three of a ticket's four levels do
MOST_WORKERS = 4


@dataclass(frozen=True)
class Stock:
    """A way to run a model that PyTorch offers as it is."""

    layout: torch.memory_format
    compiled: bool = False


STOCK = {
    "contiguous": Stock(torch.contiguous_format),
    "channels_last": Stock(torch.channels_last),
    "contiguous, compiled": Stock(torch.contiguous_format, compiled=True),
    "channels_last, compiled": Stock(torch.channels_last, compiled=True),
}


def floors(arena: Arena) -> Iterator[Contestant]:
    """The same model and optimizer stepping on one resident batch; compiled on CUDA only."""
    for precision in PRECISIONS:
        for name, stock in STOCK.items():
            if arena.device.type == "cuda" or not stock.compiled:
                yield floor(arena, f"floor {name}", stock, precision)


def floor(arena: Arena, name: str, stock: Stock, precision: str) -> Contestant:
    device, batches = arena.device, arena.batches
    model = arena.model().to(device, memory_format=stock.layout)  # type: ignore[call-overload]
    optimizer = OPTIMIZERS[arena.context.config.training.optimizer](model, arena.context.config.training)
    # Captured in CUDA graphs, which is the most that PyTorch offers by a name.
    run = torch.compile(model, mode="reduce-overhead") if stock.compiled else model
    images, labels = resident(batches.training_batch(0), stock)
    seen, _ = resident(next(batches.validation_batches()), stock)
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")

    def steps(count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad(set_to_none=True)
            with autocast:
                loss = cross_entropy(run(images), labels)
            torch.autograd.backward(loss)
            optimizer.step()

    @torch.no_grad()
    def forwards(count: int) -> None:
        for _ in range(count):
            with autocast:
                run(seen)

    def tried(action: Callable[[], None]) -> float:
        try:
            return timed(device, action)
        except Exception as error:  # a compiler may be missing, or fail on a model, in any way
            if not stock.compiled or isinstance(error, torch.OutOfMemoryError):
                raise
            raise Absent(f"{type(error).__name__}: {error}".strip().splitlines()[0]) from error

    def train(count: int) -> float:
        model.train()
        return tried(lambda: steps(count))

    def validate() -> float:
        model.eval()
        count = min(4, -(-batches.n_valid // len(seen)))
        return tried(lambda: forwards(count)) * batches.n_valid / (count * len(seen))

    return Contestant(name, precision, train, validate)


def resident(batch: tuple[Tensor, Tensor], stock: Stock) -> tuple[Tensor, Tensor]:
    return batch[0].contiguous(memory_format=stock.layout), batch[1]


def ours(arena: Arena) -> Iterator[Contestant]:
    """lthrun's epoch as the user gets it, under a mask."""
    for precision in PRECISIONS:
        yield our(arena, precision)


def our(arena: Arena, precision: str) -> Contestant:
    device, batches = arena.device, arena.batches
    settings = arena.context.config.training
    model = arena.model()
    masks = half(model, arena.context)
    engine = Engine(model, settings, device, precision, masks, emit=partial(emit_fallback, arena.emit))
    at = 0

    def steps(count: int) -> None:
        nonlocal at
        for _ in range(count):
            engine.step(batches.training_batch(at), settings.learning_rate)
            at += 1
        engine.take_loss()

    def train(count: int) -> float:
        engine.model.train()
        return timed(device, lambda: steps(count))

    def validate() -> float:
        classes = len(batches.valid_counts)
        return timed(device, lambda: engine.evaluate(batches.validation_batches(), classes))

    return Contestant("lthrun", precision, train, validate)


def emit_fallback(emit: Emit, event: Event) -> None:
    if isinstance(event, CudaGraphFallback):
        emit("uncaptured", what=event.what, why=event.reason)


def half(model: nn.Module, context: RunContext) -> masking.Tensors:
    """Masks that hold half of the prunable weights, by magnitude."""
    scores = {name: model.get_parameter(name).detach().abs() for name in select_prunable(model, context.where)}
    return masking.make_masks(scores, HELD)


def plain(arena: Arena) -> Iterator[Contestant]:
    """The loop of PyTorch's tutorials, over the image files, with 0, 1, 2, … workers."""
    loop = Plain(arena.model(), arena.context, arena.folder())
    for count in workers():
        loaders = loop.loaders(count)
        yield Contestant(
            f"plain PyTorch, {spelt(count)}", "float32", loop.training(*loaders), loop.validation(*loaders)
        )


def fasterai(arena: Arena) -> Iterator[Contestant]:
    """fasterai's lottery-ticket tutorial, in the environment of --peers."""
    try:
        peer = arena.closing.enter_context(Peer.fasterai(arena.peers, arena.context, arena.folder(), HELD))
    except Absent as error:
        yield skipped("fasterai", str(error))
        return
    yield Contestant("fasterai, as it comes", "float32", peer.training(None), peer.validation(None))
    for count in workers():
        yield Contestant(f"fasterai, {spelt(count)}", "float32", peer.training(count), peer.validation(count))


def workers() -> range:
    return range(min(os.cpu_count() or 1, MOST_WORKERS) + 1)


def spelt(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"


CONTESTANTS: dict[str, Maker] = {
    "floor": elsewhere(floors),
    "lthrun": ours,
    "plain PyTorch": elsewhere(plain),
    "fasterai": fasterai,
}
