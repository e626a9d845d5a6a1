"""Contestants in a process of their own, where nothing is set but what PyTorch sets.

lthrun changes how its process keeps memory (lthrun.training.memory), which cannot be put back; who is compared with it
has the memory that a user of PyTorch has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch

from lthrun.bench.arena import Arena, prepare
from lthrun.bench.contest import Contestant
from lthrun.config import Config
from lthrun.engines.processes import processes
from lthrun.errors import UserError

Maker = Callable[[Arena], Iterator[Contestant]]


def apart(maker: Maker) -> Maker:
    """The contestants of `maker`, which is called in a process that lives as long as the arena.

    Raises:
        UserError: the process was lost.
    """

    def elsewhere(arena: Arena) -> Iterator[Contestant]:
        pool = arena.closing.enter_context(processes(1, torch.get_num_threads()))

        def ask(function: Callable[..., Any], *arguments: Any) -> Any:
            try:
                return pool.submit(function, *arguments).result()
            except BrokenProcessPool as error:
                raise UserError("bench: a process of it was lost; is there enough memory?") from error

        for number, (name, precision) in enumerate(ask(gather, maker, arena.setting.config)):
            yield Contestant(name, precision, partial(ask, train, number), partial(ask, validate, number))

    return elsewhere


_here: list[Contestant] = []
_open = ExitStack()


def gather(maker: Maker, config: Config) -> list[tuple[str, str]]:
    """Make them here; their names and precisions."""
    _here.extend(maker(prepare(config, _open, lambda *_, **__: None)))
    return [(contestant.name, contestant.precision) for contestant in _here]


def train(number: int, steps: int) -> float:
    return _here[number].train(steps)


def validate(number: int) -> float:
    return _here[number].validate()
