"""Levels trained in threads, as on a GPU: the bits of levels trained in order, failures, and Ctrl-C.

The threads train on the CPU, where a CUDA stream of their own means nothing; tests/training/test_cuda_streams.py has
streams.
"""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lthrun.events import Event, LevelFailed, LevelFinished, Resumed, ignore
from lthrun.executors import local
from lthrun.executors.task_queue import TaskQueue
from lthrun.executors.tasks import LevelTask, RunOptions
from lthrun.executors.worker import LevelWorker
from lthrun.storage.tensor_files import read_tensors
from lthrun.training import cuda_graphs as graphs
from lthrun.training.engine import Engine
from tests.conftest import select
from tests.executors.tasks import failing, task, trained
from tests.tape import Tape

pytestmark = pytest.mark.usefixtures("one_thread")


def run_in_threads(
    tasks: list[LevelTask], options: RunOptions, jobs: int, emit: Callable[[Event], None] = ignore
) -> dict[str, str]:
    queue = TaskQueue(tasks, emit)
    local.run_in_threads(queue, LevelWorker(options), jobs)
    assert not queue.is_active
    return queue.failures


def run_in_order(tasks: list[LevelTask], options: RunOptions, emit: Callable[[Event], None] = ignore) -> dict[str, str]:
    """`emit` gets the events of the training."""
    queue = TaskQueue(tasks, ignore)
    local.run_in_order(queue, LevelWorker(options, emit))
    return queue.failures


def level_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("lthrun-level")]


def test_threads_give_the_bits_of_levels_trained_in_order(make_tasks: Callable[..., list[LevelTask]], tmp_path: Path):
    settings = ("large_final", "random", "snip")
    tasks = make_tasks(*({"pruning.criterion": c, "seed": s, "pruning.steps": 2} for c in settings for s in (0, 1)))
    assert run_in_order(tasks, RunOptions(tmp_path / "one")) == {}
    events: list[Event] = []
    assert run_in_threads(tasks, RunOptions(tmp_path / "two"), 3, events.append) == {}
    one, two = trained(tmp_path / "one"), trained(tmp_path / "two")
    assert one.keys() == {t.key for t in tasks} and one == two
    assert Counter(event.key for event in select(events, LevelFinished)) == Counter(one.keys())
    assert not level_threads()


def test_a_failing_task_stops_no_other_but_those_that_need_it(
    make_tasks: Callable[..., list[LevelTask]], tmp_path: Path
):
    tasks = make_tasks({"seed": 0}, {"seed": 1})
    dense, ticket, *others = tasks
    events: list[Event] = []
    failures = run_in_threads([failing(dense), ticket, *others], RunOptions(tmp_path), 2, events.append)
    assert failures.keys() == {dense.key, ticket.key}
    assert "has other images" in failures[dense.key] and "which failed" in failures[ticket.key]
    assert trained(tmp_path).keys() == {t.key for t in others}
    assert {event.key for event in select(events, LevelFailed)} == {dense.key, ticket.key}
    assert {event.key for event in select(events, LevelFinished)} == {t.key for t in others}


@pytest.mark.parametrize("is_recorded", [False, True], ids=["eager", "recorded steps"])
def test_an_interrupt_ends_all_threads_after_a_step_that_is_saved_and_the_levels_resume_to_the_same_bits(
    make_tasks: Callable[..., list[LevelTask]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_recorded: bool
):
    """Recorded as on a GPU, by the stand-in for CUDA graphs."""
    if is_recorded:
        monkeypatch.setattr(graphs, "make_recorder", lambda device: Tape())
    tasks = make_tasks(*({"seed": seed, "training.epochs": 5} for seed in (0, 1, 2)))
    dense = [t for t in tasks if not t.level.is_masked]
    out, options = tmp_path / "out", RunOptions(tmp_path / "out", checkpoint_every="9s")
    step, calls, pressed = Engine.step, itertools.count(1), threading.Event()

    def press_ctrl_c(self: Engine, *arguments: Any) -> None:
        if next(calls) == 20:  # of 30 in each of the two levels
            os.kill(os.getpid(), signal.SIGINT)
            pressed.set()
        if pressed.is_set():
            time.sleep(0.1)  # so that the main thread gets it
        step(self, *arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Engine, "step", press_ctrl_c)
        run_in_threads(dense, options, 2)
    assert pressed.is_set() and not level_threads()
    steps = [int(read_tensors(path)[1]["step"]) for path in out.glob("levels/*.part/checkpoint.safetensors")]
    assert trained(out) == {} and len(steps) == 2 and sum(steps) == next(calls) - 1
    events: list[Event] = []
    assert run_in_order(dense, options, events.append) == {} and len(select(events, Resumed)) == 2
    assert run_in_order(dense, RunOptions(tmp_path / "alone")) == {}
    assert trained(out) == trained(tmp_path / "alone")


def test_a_full_disk_ends_the_threads(
    make_tasks: Callable[..., list[LevelTask]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    tasks = make_tasks(*({"seed": seed} for seed in (0, 1, 2)))
    full, run = tasks[0].key, LevelWorker.run

    def fail(self: LevelWorker, task: LevelTask) -> Any:
        if task.key == full:
            raise OSError(28, "No space left on device", "levels/x")
        return run(self, task)

    monkeypatch.setattr(LevelWorker, "run", fail)
    with pytest.raises(OSError, match="No space left"):
        run_in_threads(tasks, RunOptions(tmp_path), 2)
    assert not level_threads()


@pytest.mark.parametrize(
    ("device", "model", "jobs", "way"),
    [
        ("cuda:0", "resnet18", None, "run_in_threads"),
        ("cuda:0", "resnet18", 1, "run_in_order"),
        ("cuda:0", "efficientnet_b0", None, "run_in_processes"),  # dropout: its draws are those of the process
        ("cpu", "resnet18", None, "run_in_order"),
        ("cpu", "resnet18", 2, "run_in_processes"),
    ],
)
def test_the_way_follows_from_device_model_and_jobs(
    device: str, model: str, jobs: int | None, way: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    calls: list[str] = []
    for name in ("run_in_order", "run_in_threads", "run_in_processes"):
        monkeypatch.setattr(local, name, lambda *_, name=name: calls.append(name))
    one = task("a")
    config = one.config.model_copy(
        update={"device": device, "model": one.config.model.model_copy(update={"name": model})}
    )
    tasks = [replace(task(key), config=config) for key in ("a", "b")]
    assert local.local(tasks, LevelWorker(RunOptions(tmp_path, jobs=jobs)), ignore) == {}
    assert calls == [way]
