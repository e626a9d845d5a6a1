"""The executor of one machine: in order and in processes, which may be killed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lthrun.events import Event, LevelFailed, LevelFinished, ignore
from lthrun.executors import EXECUTORS, local
from lthrun.executors.tasks import LevelTask, RunOptions
from lthrun.executors.worker import LevelWorker
from lthrun.experiments import load_config
from lthrun.storage.level_store import LevelStore
from tests.executors.processes import descendants, is_alive, kill_one, small_command, start, training_processes
from tests.executors.tasks import failing, task, trained

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
    one = task("a")
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
