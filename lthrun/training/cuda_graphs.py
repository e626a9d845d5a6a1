"""CUDA graphs: the kernels of a step are recorded once and launched as one, so the device does not wait for the host.

A replay runs the same kernels on the same memory. So inputs are copied to where the recorded ones lie, and what changes
from step to step (the learning rate) lies on the device. What decides in Python by what is on the device, or draws
random numbers, is not recorded: it is called as it is, and why is said.

The rules are those of PyTorch's notes on CUDA semantics ("CUDA graphs"): warm up on the stream that is recorded, which
is not the default one; keep inputs and parameters where they are; switch autocast's cache off.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Protocol

import torch
from torch import Tensor

WARM_UPS = 3  # as many as torch.cuda.make_graphed_callables has
DRAWS = "the model draws random numbers in it (dropout and the like)"
WAITS = "the model waits for the device in the middle of it"
SYNCHRONIZES = "called a synchronizing CUDA operation"


class Recorder(Protocol):
    """What a device has to offer for graphs."""

    def warm_up(self, function: Callable[[], None]) -> str | None:
        """Call it where it will be recorded; what stands against recording it, or None."""

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        """What `function` launches, without launching it; calling the result launches it.

        Raises:
            RuntimeError: it cannot be recorded.
        """


class Cuda:
    """Records CUDA graphs."""

    def __init__(self, device: torch.device):
        self.device, self.stream = device, side_stream(device)

    def warm_up(self, function: Callable[[], None]) -> str | None:
        drawn = torch.cuda.get_rng_state(self.device)
        mode = torch.cuda.get_sync_debug_mode()
        with self._aside(), warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                function()
            finally:
                torch.cuda.set_sync_debug_mode(mode)
        waits = [w for w in heard if SYNCHRONIZES in str(w.message)]
        for other in heard:
            if other not in waits and "Synchronization debug mode" not in str(other.message):
                warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
        if waits:
            return WAITS
        # Who draws moves the generator on.
        return None if torch.equal(drawn, torch.cuda.get_rng_state(self.device)) else DRAWS

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        with self._aside(), torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
            function()
        return graph.replay

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """On the stream that is recorded, after what was launched before and before what is launched after."""
        current = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(current)
        try:
            with torch.cuda.device(self.device), torch.cuda.stream(self.stream):
                yield
        finally:
            current.wait_stream(self.stream)


@lru_cache
def side_stream(device: torch.device) -> torch.cuda.Stream:
    """One for all recordings on a device: each stream keeps memory and a cuBLAS workspace of its own."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def recorder(device: torch.device) -> Recorder | None:
    """What records graphs on that device; None where there are none."""
    return Cuda(device) if device.type == "cuda" else None


class Captured:
    """Calls a function of tensors: as it is in the first `warm_ups` rounds, and once for each shape; then recorded.

    Those calls are work like any other, so warming up changes nothing and costs nothing. What is a round is counted by
    the caller, in `rounds`. The function returns nothing, works in place and must be the same in every call; there is
    one graph for each shape of its inputs. Where recording fails, `uncaptured(what, why)` is told, once.
    """

    def __init__(self, recorder: Recorder | None, what: str, warm_ups: int, uncaptured: Callable[..., None]):
        self.rounds, self.warm_ups = 0, warm_ups
        self._recorder, self._what, self._uncaptured = recorder, what, uncaptured
        self._warm: set[tuple[torch.Size, ...]] = set()
        self._obstacle: str | None = None
        self._graphs: dict[tuple[torch.Size, ...], tuple[tuple[Tensor, ...], Callable[[], None]]] = {}

    def __call__(self, function: Callable[..., None], *inputs: Tensor) -> None:
        shapes = tuple(tensor.shape for tensor in inputs)
        if self._recorder and (self.rounds < self.warm_ups or shapes not in self._warm):
            self._warm.add(shapes)
            self._obstacle = self._recorder.warm_up(partial(function, *inputs))
            return
        if self._recorder and shapes not in self._graphs:
            self._record(self._recorder, function, inputs, shapes)
        if not self._recorder:
            function(*inputs)
            return
        own, replay = self._graphs[shapes]
        for place, tensor in zip(own, inputs, strict=True):
            place.copy_(tensor)
        replay()

    def forget(self) -> None:
        """Warm up and record anew: what the function works on lies elsewhere now."""
        self.rounds = 0
        self._warm.clear()
        self._graphs.clear()

    def _record(
        self,
        recorder: Recorder,
        function: Callable[..., None],
        inputs: tuple[Tensor, ...],
        shapes: tuple[torch.Size, ...],
    ) -> None:
        own = tuple(tensor.clone() for tensor in inputs)
        why = self._obstacle
        if why is None:
            try:
                self._graphs[shapes] = own, recorder.record(partial(function, *own))
                return
            except RuntimeError as error:
                why = f"recording it failed ({str(error).strip().partition(chr(10))[0]})"
        self._recorder = None
        self._graphs.clear()
        self._uncaptured(what=self._what, why=why)
