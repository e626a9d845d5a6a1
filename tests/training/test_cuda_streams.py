"""Threads that train at once: each on a stream of its own, with the numbers of training alone. CUDA is a stand-in."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest
import torch

from lthrun.events import Event
from lthrun.training import cuda_graphs as graphs
from lthrun.training import state
from lthrun.training.cuda_streams import find_capture_stream, training_stream
from lthrun.training.engine import Engine, recalibrate_batch_norm
from tests.tape import Tape, all_equal
from tests.training.test_cuda_graphs import SETTINGS
from tests.training.test_engine import CPU, batch, model, some_masks

CUDA = torch.device("cuda:0")


class FakeCuda:
    """Streams that note what waits for what, and a current one for each thread."""

    def __init__(self) -> None:
        self.waits: list[tuple[Any, Any]] = []
        self.default = self.Stream()
        self.thread = threading.local()

    def Stream(self, device: torch.device = CUDA) -> Any:
        fake = self

        class Stream:
            def __init__(self) -> None:
                self.device = device

            def wait_stream(self, other: Any) -> None:
                fake.waits.append((self, other))

        return Stream()

    def current_stream(self, device: torch.device) -> Any:
        return getattr(self.thread, "stream", self.default)

    def default_stream(self, device: torch.device) -> Any:
        return self.default

    @contextmanager
    def stream(self, stream: Any) -> Iterator[None]:
        before = self.current_stream(stream.device)
        self.thread.stream = stream
        try:
            yield
        finally:
            self.thread.stream = before


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda()
    for name in ("Stream", "current_stream", "default_stream", "stream"):
        monkeypatch.setattr(torch.cuda, name, getattr(fake, name))
    return fake


def in_threads(count: int, function: Callable[[int], Any]) -> list[Any]:
    """The results of calls at the same time, a thread for each."""
    barrier = threading.Barrier(count)

    def call(number: int) -> Any:
        barrier.wait()
        return function(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(call, range(count)))


def test_on_other_devices_there_is_no_stream(cuda: FakeCuda):
    with training_stream(CPU):
        assert cuda.current_stream(CUDA) is cuda.default
    assert not cuda.waits


def test_a_stream_waits_for_what_came_before_and_is_waited_for(cuda: FakeCuda):
    with pytest.raises(KeyboardInterrupt), training_stream(CUDA):
        own = cuda.current_stream(CUDA)
        assert cuda.waits == [(own, cuda.default)]
        raise KeyboardInterrupt
    assert cuda.current_stream(CUDA) is cuda.default
    assert cuda.waits == [(own, cuda.default), (cuda.default, own)]


def test_each_thread_records_on_the_stream_that_it_trains_on(cuda: FakeCuda):
    def find(number: int) -> tuple[Any, Any]:
        with training_stream(CUDA):
            return cuda.current_stream(CUDA), find_capture_stream(CUDA)

    found = in_threads(4, find)
    assert all(own is capture for own, capture in found)
    assert len({id(own) for own, _ in found}) == 4


def test_without_a_stream_of_its_own_a_thread_records_on_a_side_stream(cuda: FakeCuda):
    def find(number: int) -> list[Any]:
        return [find_capture_stream(CUDA) for _ in range(2)]

    found = in_threads(3, find)
    assert all(first is second and first is not cuda.default for first, second in found)
    assert len({id(first) for first, _ in found}) == 3


def test_one_graph_is_captured_at_a_time(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch):
    captures = []

    @contextmanager
    def capture(graph: Any, stream: Any, capture_error_mode: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        captures.append((started, time.perf_counter(), capture_error_mode))

    class Graph:
        def replay(self) -> None: ...

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", capture)

    def record(number: int) -> None:
        with training_stream(CUDA):
            graphs.CudaRecorder(CUDA).record(lambda: time.sleep(0.02))

    in_threads(4, record)
    assert len(captures) == 4 and {mode for *_, mode in captures} == {"thread_local"}
    assert all(first[1] <= second[0] for first, second in pairwise(captures))


def test_engines_in_threads_train_as_alone_to_the_bit(monkeypatch: pytest.MonkeyPatch):
    """Each with graphs of its own, while other threads draw random numbers."""
    monkeypatch.setattr(graphs, "make_recorder", lambda device: Tape())
    events: list[Event] = []
    nets = [model() for _ in range(4)]
    start = [state.copy_model_state(net) for net in nets]

    def train(number: int) -> tuple[dict[str, torch.Tensor], float, Any]:
        net = nets[number]
        state.load_model_state(net, start[number])
        engine = Engine(net, SETTINGS["adamw"], CPU, "float32", some_masks_of[number], emit=events.append)
        with training_stream(CPU):
            for epoch in range(2):
                engine.model.train()
                for step in range(5):
                    torch.rand(3)  # another thread's draw must not look like the model's
                    engine.step(batch(10 * number + 5 * epoch + step), 0.01 * (number + 1))
                recalibrate_batch_norm(engine, [batch(step) for step in range(5)])
                evaluation = engine.evaluate([batch(100), batch(101)], 2)
        return state.copy_model_state(engine.model), engine.take_loss(), evaluation

    some_masks_of = [some_masks() for _ in range(4)]
    alone = [train(number) for number in range(4)]
    together = in_threads(4, train)
    for one, two in zip(alone, together, strict=True):
        assert all_equal(one[0].values(), two[0].values()) and one[1:] == two[1:]
    assert not events
