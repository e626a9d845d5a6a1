"""CUDA graphs: the kernels of a step are recorded once and launched as one, so the device does not wait for the host.

A replay runs the same kernels on the same memory. So inputs are copied into the memory of the recorded ones, and what
changes from step to step (the learning rate) lies on the device. Device-dependent control flow and random draws are
not captured: such functions run eagerly, and the reason is reported.

The rules are those of PyTorch's notes on CUDA semantics ("CUDA graphs"): warm up on the stream of the recording, which
is not the default one; keep inputs and parameters in place; switch autocast's cache off.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Protocol

import torch
from torch import Tensor

from lthrun.events import CudaGraphFallback, Emit

WARM_UPS = 3  # as many as torch.cuda.make_graphed_callables has
DRAWS = "the model draws random numbers (dropout and the like)"
WAITS = "the model waits for the device"
SYNCHRONIZES = "called a synchronizing CUDA operation"


class GraphRecorder(Protocol):
    """What a device has to offer for graphs."""

    def warm_up(self, function: Callable[[], None]) -> str | None:
        """Call the function as it will be recorded; the reason why it cannot be, or None."""

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        """What `function` launches, without launching it; calling the result launches it.

        Raises:
            RuntimeError: it cannot be recorded.
        """


class CudaRecorder:
    """Records CUDA graphs."""

    def __init__(self, device: torch.device):
        self.device, self.stream = device, side_stream(device)

    def warm_up(self, function: Callable[[], None]) -> str | None:
        random_state = torch.cuda.get_rng_state(self.device)
        mode = torch.cuda.get_sync_debug_mode()
        with self._on_side_stream(), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                function()
            finally:
                torch.cuda.set_sync_debug_mode(mode)
        waits = [w for w in caught if SYNCHRONIZES in str(w.message)]
        for other in caught:
            if other not in waits and "Synchronization debug mode" not in str(other.message):
                warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
        if waits:
            return WAITS
        # A draw advances the generator.
        return None if torch.equal(random_state, torch.cuda.get_rng_state(self.device)) else DRAWS

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        with self._on_side_stream(), torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
            function()
        return graph.replay

    @contextmanager
    def _on_side_stream(self) -> Iterator[None]:
        """On the stream of the recording: after what was launched before, and before what is launched afterwards."""
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


def make_recorder(device: torch.device) -> GraphRecorder | None:
    """The recorder of a device; None for a device without graphs."""
    return CudaRecorder(device) if device.type == "cuda" else None


class GraphedFunction:
    """A function of tensors that is called eagerly at first, then recorded and replayed.

    The function returns nothing, works in place and does the same in every call. It is called eagerly in the first
    `warm_ups` rounds, and once for each new shape of its inputs; the caller counts the rounds, in `rounds`. Those calls
    are work like any other, so that a warm-up costs no extra step. There is one graph for each shape of the inputs.
    Where recording fails, all later calls are eager, and a `CudaGraphFallback` is emitted once.
    """

    def __init__(self, recorder: GraphRecorder | None, what: str, warm_ups: int, emit: Emit):
        self.rounds, self.warm_ups = 0, warm_ups
        self._recorder, self._what, self._emit = recorder, what, emit
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
        recorded_inputs, replay = self._graphs[shapes]
        for recorded, tensor in zip(recorded_inputs, inputs, strict=True):
            recorded.copy_(tensor)
        replay()

    def reset(self) -> None:
        """Warm up and record again: the function works on other tensors now."""
        self.rounds = 0
        self._warm.clear()
        self._graphs.clear()

    def _record(
        self,
        recorder: GraphRecorder,
        function: Callable[..., None],
        inputs: tuple[Tensor, ...],
        shapes: tuple[torch.Size, ...],
    ) -> None:
        recorded_inputs = tuple(tensor.clone() for tensor in inputs)
        reason = self._obstacle
        if reason is None:
            try:
                self._graphs[shapes] = recorded_inputs, recorder.record(partial(function, *recorded_inputs))
                return
            except RuntimeError as error:
                reason = f"recording it failed ({str(error).strip().partition(chr(10))[0]})"
        self._recorder = None
        self._graphs.clear()
        self._emit(CudaGraphFallback(self._what, reason))
