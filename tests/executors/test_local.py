"""The executor of one machine: in order and in processes, which may be killed."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lthrun.events import Event, LevelFailed, LevelFinished, Resumed, ignore
from lthrun.executors import EXECUTORS, local, worker_processes
from lthrun.executors.local import run_in_order
from lthrun.executors.task_queue import TaskQueue
from lthrun.executors.tasks import LevelTask, RunOptions
from lthrun.executors.worker import LevelWorker
from lthrun.experiments import load_config
from lthrun.storage.level_store import LevelStore
from lthrun.storage.tensor_files import read_tensors
from tests.conftest import select
from tests.executors.processes import descendants, is_alive, kill_one, small_command, start, training_processes
from tests.executors.tasks import failing, trained
from tests.executors.tasks import task as make_task

linux = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks processes up in /proc")


def run_locally(tasks: list[LevelTask], options: RunOptions, emit: Callable[[Event], None] = ignore) -> dict[str, str]:
    failures: dict[str, str] = EXECUTORS["local"](tasks, LevelWorker(options), emit)
    return failures


@pytest.mark.usefixtures("one_thread")
def test_processes_give_the_same_bits_and_a_failing_task_stops_no_other(
    three: list[LevelTask], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(local, "count_cores", lambda: 2)
    events: list[tuple[type[Event], str, bool | None]] = []

    def emit(event: Event) -> None:
        assert isinstance(event, LevelFinished | LevelFailed)
        events.append((type(event), event.key, getattr(event, "is_reused", None)))

    assert run_locally(three, RunOptions(tmp_path / "one")) == {}
    dense, first, second = three
    failures = run_locally([dense, failing(first), second], RunOptions(tmp_path / "two", jobs=2), emit)
    assert failures.keys() == {first.key} and "has other images, or another device" in failures[first.key]
    one, two = trained(tmp_path / "one"), trained(tmp_path / "two")
    assert one.keys() == {t.key for t in three} and two == {k: v for k, v in one.items() if k != first.key}
    assert Counter(events) == Counter(
        [(LevelFinished, dense.key, False), (LevelFinished, second.key, False), (LevelFailed, first.key, None)]
    )


def test_levels_of_small_networks_do_not_depend_on_jobs(make_tasks: Callable[..., list[LevelTask]], tmp_path: Path):
    tasks, threads = make_tasks({"model.name": "lenet300"}), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for jobs in (1, 2):
            assert run_locally(tasks, RunOptions(tmp_path / str(jobs), jobs=jobs)) == {}
    finally:
        torch.set_num_threads(threads)
    assert trained(tmp_path / "1") == trained(tmp_path / "2")
    records = [LevelStore(tmp_path / out).record(t.key) for out in "12" for t in tasks]
    assert [record["environment"]["threads"] for record in records if record] == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("model", "steps", "given", "jobs"),
    [
        ("lenet300", 40_000, None, 3),
        ("lenet300", 40_000, 2, 2),
        ("lenet300", 100, None, 1),  # less than the start of the processes
        ("resnet18", 40_000, None, 1),
    ],
)
def test_levels_of_small_networks_are_trained_on_all_cores(
    model: str, steps: int, given: int | None, jobs: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(local, "count_cores", lambda: 3)
    one = make_task("a")
    options = {"model.name": model, "data.image_size": 28, "device": "cpu"}
    config = load_config(None, "baseline", options=options)
    tasks = [replace(one, config=config, level=replace(one.level, steps=steps // 4)) for _ in range(4)]
    assert local.count_jobs(tasks, given) == jobs


def test_a_task_does_not_retrain_what_it_needs(tmp_path: Path, make_tasks: Callable[..., list[LevelTask]]):
    """Levels of `--fresh` are retrained once, not by every level that rewinds to them."""
    tasks = make_tasks({"training.epochs": 2, "rewind.to": "1ep"})
    assert tasks[1].level.origin == tasks[0].level
    when = []
    for some in (tasks, tasks[1:]):
        assert run_locally(some, RunOptions(tmp_path, fresh=True)) == {}
        when.append([(tmp_path / "levels" / t.key / "level.json").stat().st_mtime_ns for t in tasks])
    assert when[0][0] == when[1][0] and when[0][1] < when[1][1]


@pytest.mark.usefixtures("one_thread")
def test_ctrl_c_saves_the_step_of_every_process_and_the_levels_resume_to_the_same_bits(
    make_tasks: Callable[..., list[LevelTask]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    tasks = make_tasks(*({"seed": seed, "training.epochs": 30} for seed in (0, 1)))
    dense = [one for one in tasks if not one.level.is_masked]
    out = tmp_path / "out"

    def press_ctrl_c() -> None:
        """Once both train: a rewind point is kept after the first epoch."""
        while not all((out / "levels" / f"{one.key}.part" / "epoch-1.safetensors").exists() for one in dense):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press_ctrl_c, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        run_locally(dense, RunOptions(out, "9999s", jobs=2))
    for one in dense:
        _, metadata = read_tensors(out / "levels" / f"{one.key}.part" / "checkpoint.safetensors")
        assert int(metadata["step"]) >= 6, "the processes have saved"
    events: list[Event] = []
    for place in (out, tmp_path / "alone"):
        queue = TaskQueue(dense, ignore)
        run_in_order(queue, LevelWorker(RunOptions(place), events.append))
        assert queue.failures == {}
    assert len(select(events, Resumed)) == 2 and trained(out) == trained(tmp_path / "alone")


def deaf_process() -> AbstractContextManager[ProcessPoolExecutor]:
    """A pool of one process that ignores SIGTERM."""
    return worker_processes.worker_processes(1, 1, signal.signal, signal.SIGTERM, signal.SIG_IGN)


def test_a_process_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(worker_processes, "PATIENCE", 0.1)
    with pytest.raises(KeyboardInterrupt), deaf_process() as pool:
        assert pool.submit(int, 1).result() == 1
        (process,) = pool._processes.values()
        raise KeyboardInterrupt
    assert process.exitcode == -signal.SIGKILL


CHAINED = "compare --epochs 60 --seeds 2 --arms dense --jobs 2 --checkpoint-every 2it".split()


@linux
def test_a_killed_process_of_the_pool_loses_nothing_and_a_killed_parent_leaves_none(images: Path, tmp_path: Path):
    out = tmp_path / "out"
    process = start(small_command(images, out, *CHAINED))
    key = kill_one(process.pid, out)
    end = time.monotonic() + 100
    while key not in training_processes(process.pid, out).values() and time.monotonic() < end:
        assert process.poll() is None
        time.sleep(0.02)
    pool = list(descendants(process.pid))
    process.kill()
    process.communicate()
    while any(map(is_alive, pool)) and time.monotonic() < end:
        time.sleep(0.05)
    assert pool and not [worker for worker in pool if is_alive(worker)]


def test_processes_inherit_that_ctrl_c_is_blocked():
    """Only the parent handles it, also while a process imports lthrun."""
    with worker_processes.worker_processes(1, 1) as pool:
        assert signal.SIGINT in pool.submit(signal.pthread_sigmask, signal.SIG_BLOCK, ()).result()
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
