"""Contestants in a process of their own, where memory is as PyTorch and the C library have it.

On the CPU lthrun changes how its process keeps memory (lthrun.training.heap), for good. Whoever it is compared with
must not have that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch

from lthrun.bench.rounds import Contestant
from lthrun.bench.setup import Arena, prepare_bench
from lthrun.config import Config
from lthrun.errors import UserError
from lthrun.executors.worker_processes import processes

Maker = Callable[[Arena], Iterator[Contestant]]


def elsewhere(maker: Maker) -> Maker:
    """The contestants of `maker`; on the CPU it is called in a process that lives as long as the arena.

    What it emits there is not heard.

    Raises:
        UserError: the process was lost.
    """

    def made(arena: Arena) -> Iterator[Contestant]:
        if arena.device.type != "cpu":
            yield from maker(arena)
            return
        what = maker.__name__
        arena.emit("busy", doing=f"starting a process for the benchmark ({what})")
        pool = arena.closing.enter_context(processes(1, torch.get_num_threads()))

        def ask(function: Callable[..., Any], *arguments: Any) -> Any:
            try:
                return pool.submit(function, *arguments).result()
            except BrokenProcessPool as error:
                raise UserError(f"bench: the process of the contestants {what} was lost; is memory short?") from error

        for number, (name, precision) in enumerate(ask(gather, maker, arena.context.config, arena.steps)):
            yield Contestant(name, precision, partial(ask, train, number), partial(ask, validate, number))

    return made


_here: list[Contestant] = []
_open = ExitStack()  # until the process ends


def gather(maker: Maker, config: Config, steps: int) -> list[tuple[str, str]]:
    """Make them here; their names and precisions."""
    _here.extend(maker(prepare_bench(config, _open, lambda *_, **__: None, steps)))
    return [(contestant.name, contestant.precision) for contestant in _here]


def train(number: int, steps: int) -> float:
    return _here[number].train(steps)


def validate(number: int) -> float:
    return _here[number].validate()
