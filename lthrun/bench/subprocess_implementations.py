"""Implementations in a process of their own, which has the memory settings of PyTorch and the C library.

On the CPU lthrun changes how its process keeps freed memory, which cannot be undone (lthrun.training.heap). What
lthrun is compared with must not benefit from that.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch

from lthrun.bench.rounds import Implementation
from lthrun.bench.setup import BenchmarkSetup, prepare_bench
from lthrun.config.base import ExperimentConfig
from lthrun.errors import UserError
from lthrun.events import Busy, ignore
from lthrun.executors.worker_processes import worker_processes

Maker = Callable[[BenchmarkSetup], Iterator[Implementation]]


def in_subprocess(maker: Maker) -> Maker:
    """The implementations of `maker`; on the CPU they are made and run in a subprocess that ends with the benchmark.

    Events of the subprocess are dropped.

    Raises:
        UserError: the subprocess died.
    """

    def make(setup: BenchmarkSetup) -> Iterator[Implementation]:
        if setup.device.type != "cpu":
            yield from maker(setup)
            return
        name = maker.__name__
        setup.emit(Busy(f"starting a subprocess for the benchmark ({name})"))
        pool = setup.stack.enter_context(worker_processes(1, torch.get_num_threads()))

        def call(function: Callable[..., Any], *arguments: Any) -> Any:
            try:
                return pool.submit(function, *arguments).result()
            except BrokenProcessPool as error:
                raise UserError(f"bench: the subprocess of {name} died (out of memory?)") from error

        for i, (label, precision) in enumerate(call(make_here, maker, setup.context.config, setup.steps)):
            yield Implementation(label, precision, partial(call, train, i), partial(call, validate, i))

    return make


_implementations: list[Implementation] = []  # of this subprocess
_stack = ExitStack()
atexit.register(_stack.close)  # while PyTorch can still be imported


def make_here(maker: Maker, config: ExperimentConfig, steps: int) -> list[tuple[str, str]]:
    """Make the implementations in this subprocess; their names and precisions."""
    _implementations.extend(maker(prepare_bench(config, _stack, ignore, steps)))
    return [(implementation.name, implementation.precision) for implementation in _implementations]


def train(i: int, steps: int) -> float:
    return _implementations[i].train(steps)


def validate(i: int) -> float:
    return _implementations[i].validate()
