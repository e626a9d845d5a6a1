"""A stand-in for CUDA graphs on the CPU: the operations of a function are recorded, and replayed on the same tensors.

As with CUDA, a recording has no effect (what it changed is restored), inputs and results stay at their addresses,
Python numbers are those of the recording, and reading a value from a tensor cannot be recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

READ = "aten::_local_scalar_dense"


def tensors_in(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


class CountReads(TorchDispatchMode):
    """Counts how often a value is read from a tensor."""

    reads = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.reads += func.name() == READ
        return func(*args, **(kwargs or {}))


class Recording(TorchDispatchMode):
    """Keeps each operation, and the content before of all memory that an operation used."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, list[tuple[Tensor, bool]]]] = []
        self.before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}
        self.new: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.name() == READ:
            raise RuntimeError("operation not permitted when stream is capturing\nand more")
        old = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage() for tensor in tensors_in((args, kwargs))}
        for address, memory in old.items():
            if address not in self.new and address not in self.before:
                self.before[address] = memory, memory.clone()
        result = func(*args, **(kwargs or {}))
        # A view or a tensor that was changed in place shares the memory of an input.
        results = [(tensor, tensor.untyped_storage().data_ptr() not in old) for tensor in tensors_in(result)]
        self.new |= {tensor.untyped_storage().data_ptr() for tensor, is_new in results if is_new}
        self.calls.append((func, args, kwargs or {}, results))
        return result

    def undo(self) -> None:
        for memory, value in self.before.values():
            memory.copy_(value)

    def replay(self) -> None:
        with torch.no_grad():
            for func, args, kwargs, results in self.calls:
                values = tensors_in(func(*args, **kwargs))
                for (tensor, is_new), value in zip(results, values, strict=True):
                    if is_new:
                        tensor.copy_(value)


@dataclass
class Tape:
    """A `GraphRecorder` (lthrun.training.cuda_graphs). `failing` makes recording fail with that message; `log` has the calls."""

    failing: str | None = None
    log: list[str] = field(default_factory=list)

    def warm_up(self, function: Callable[[], None]) -> None:
        self.log.append("warm up")
        function()

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        self.log.append("record")
        if self.failing:
            raise RuntimeError(self.failing)
        recording = Recording()
        try:
            with recording:
                function()
        finally:
            recording.undo()

        def replay() -> None:
            self.log.append("replay")
            recording.replay()

        return replay

    def counts(self) -> dict[str, int]:
        return {what: self.log.count(what) for what in ("warm up", "record", "replay")}


def all_equal(one: Iterable[Tensor], two: Iterable[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
