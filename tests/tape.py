"""A stand-in for CUDA graphs on the CPU: what a function launches is recorded, and replayed on the same tensors.

As with CUDA, recording runs nothing (what it changed is put back), inputs and results stay where they were recorded,
numbers that Python passed are those of the recording, and reading from a tensor cannot be recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lthrun.training import cuda_graphs as graphs

READ = "aten::_local_scalar_dense"


def tensors(of: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(of) if isinstance(leaf, Tensor)]


class Watch(TorchDispatchMode):
    """Counts how often something is read from a tensor."""

    reads = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.reads += func.name() == READ
        return func(*args, **(kwargs or {}))


class Recording(TorchDispatchMode):
    """Writes down each operation, and what was in memory before that an operation used first."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, list[tuple[Tensor, bool]]]] = []
        self.before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}
        self.made: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.name() == READ:
            raise RuntimeError("operation not permitted when stream is capturing\nand more")
        old = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage() for tensor in tensors((args, kwargs))}
        for place, memory in old.items():
            if place not in self.made and place not in self.before:
                self.before[place] = memory, memory.clone()
        result = func(*args, **(kwargs or {}))
        # A view, or what was changed in place, is its input.
        made = [(tensor, tensor.untyped_storage().data_ptr() not in old) for tensor in tensors(result)]
        self.made |= {tensor.untyped_storage().data_ptr() for tensor, is_new in made if is_new}
        self.calls.append((func, args, kwargs or {}, made))
        return result

    def undo(self) -> None:
        for memory, value in self.before.values():
            memory.copy_(value)

    def replay(self) -> None:
        with torch.no_grad():
            for func, args, kwargs, made in self.calls:
                again = tensors(func(*args, **kwargs))
                for (tensor, is_new), value in zip(made, again, strict=True):
                    if is_new:
                        tensor.copy_(value)


@dataclass
class Tape:
    """A `graphs.Recorder`. `failing` makes recording fail; `log` has what was asked of it."""

    failing: str | None = None
    log: list[str] = field(default_factory=list)

    def warm_up(self, function: Callable[[], None]) -> str | None:
        self.log.append("warm up")
        drawn = torch.get_rng_state()
        with Watch() as watch:
            function()
        if watch.reads:
            return graphs.WAITS
        return None if torch.equal(drawn, torch.get_rng_state()) else graphs.DRAWS

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        self.log.append("record")
        if self.failing:
            raise RuntimeError(self.failing)
        with Recording() as recording:
            function()
        recording.undo()

        def replay() -> None:
            self.log.append("replay")
            recording.replay()

        return replay

    def counted(self) -> dict[str, int]:
        return {what: self.log.count(what) for what in ("warm up", "record", "replay")}


def all_equal(one: Iterable[Tensor], two: Iterable[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
