"""CUDA graphs: the kernels of a step are recorded once and launched as one, so the device does not wait for the host.

A replay runs the same kernels on the same memory. So inputs are copied into the memory of the recorded ones, and what
changes from step to step (the learning rate) lies on the device. Device-dependent control flow and random draws are
not captured: such functions run eagerly, and the reason is reported.

The rules are those of PyTorch's notes on CUDA semantics ("CUDA graphs"): warm up on the stream of the recording, which
is not the default one; keep inputs and parameters in place; switch autocast's cache off.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lthrun.events import CudaGraphFallback, Emit
from lthrun.training.cuda_streams import capture_lock, find_capture_stream, on_stream

WARM_UPS = 3  # as many as torch.cuda.make_graphed_callables has
DRAWS = "the model draws random numbers (dropout and the like)"
WAITS = "the model waits for the device"


class GraphRecorder(Protocol):
    """What a device has to offer for graphs."""

    def warm_up(self, function: Callable[[], None]) -> None:
        """Call the function as it will be recorded."""

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        """What `function` launches, without launching it; calling the result launches it.

        Raises:
            RuntimeError: it cannot be recorded.
        """


class CudaRecorder:
    """Records CUDA graphs, on the stream of the calling thread."""

    def __init__(self, device: torch.device):
        self.stream = find_capture_stream(device)

    def warm_up(self, function: Callable[[], None]) -> None:
        with on_stream(self.stream):
            function()

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        with (
            capture_lock,
            on_stream(self.stream),
            torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"),
        ):
            function()
        return graph.replay


def make_recorder(device: torch.device) -> GraphRecorder | None:
    """The recorder of a device; None for a device without graphs."""
    return CudaRecorder(device) if device.type == "cuda" else None


class FindObstacle(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Watches the operations of this thread for those that a graph cannot hold: random draws, and values read back.

    Looking at the operations is cheaper than PyTorch's synchronization warnings, each of which formats a stack trace
    (1.3 s of a run on an H200), and other threads that draw do not disturb it. What it misses makes recording fail.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.obstacle: str | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.data_dependent_output in func.tags:
            self.obstacle = WAITS
        elif torch.Tag.nondeterministic_seeded in func.tags:
            self.obstacle = self.obstacle or DRAWS
        return func(*args, **(kwargs or {}))


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
        if self._recorder is None:
            function(*inputs)
            return
        shapes = tuple(tensor.shape for tensor in inputs)
        if self.rounds < self.warm_ups or shapes not in self._warm:
            self._warm.add(shapes)
            with FindObstacle() as found:
                self._recorder.warm_up(partial(function, *inputs))
            self._obstacle = self._obstacle or found.obstacle
            return
        if shapes not in self._graphs and not self._record(self._recorder, function, inputs, shapes):
            function(*inputs)
            return
        recorded_inputs, replay = self._graphs[shapes]
        for recorded, tensor in zip(recorded_inputs, inputs, strict=True):
            recorded.copy_(tensor)
        replay()

    def reset(self) -> None:
        """Warm up and record again: the function works on other tensors now."""
        self.rounds = 0
        self._obstacle = None
        self._warm.clear()
        self._graphs.clear()

    def _record(
        self,
        recorder: GraphRecorder,
        function: Callable[..., None],
        inputs: tuple[Tensor, ...],
        shapes: tuple[torch.Size, ...],
    ) -> bool:
        recorded_inputs = tuple(tensor.clone() for tensor in inputs)
        reason = self._obstacle
        if reason is None:
            try:
                self._graphs[shapes] = recorded_inputs, recorder.record(partial(function, *recorded_inputs))
                return True
            except RuntimeError as error:
                reason = f"recording it failed ({str(error).strip().partition(chr(10))[0]})"
        self._recorder = None
        self._graphs.clear()
        self._emit(CudaGraphFallback(self._what, reason))
        return False
