"""The executor of a Ray cluster without one: workers that are lost, places for them, what is refused."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lthrun.errors import UserError
from lthrun.events import ignore
from lthrun.executors import EXECUTORS
from lthrun.executors.on_ray import RayWorker, connect, count_places, describe_versions, run_on_workers
from lthrun.executors.task_queue import RETRIES, TaskQueue
from lthrun.executors.tasks import LevelTask, RunOptions
from lthrun.executors.worker import LevelWorker
from tests.executors.processes import small_command
from tests.executors.tasks import RESULT, task


class Ref:
    """What a call of a worker returns at once, as Ray has it."""

    def __init__(self, result: Any):
        self._result = result

    def future(self) -> Future[Any]:
        future: Future[Any] = Future()
        if isinstance(self._result, Exception):
            future.set_exception(self._result)
        else:
            future.set_result(self._result)
        return future


class Call:
    def __init__(self, function: Callable[..., Any]):
        self._function = function

    def remote(self, *arguments: Any) -> Ref:
        return Ref(self._function(*arguments))


class Scripted:
    """A worker with given answers, instead of an actor of Ray."""

    def __init__(self, started: Any, answer: Callable[[LevelTask], Any] = lambda task: RESULT):
        self.start, self.run = Call(lambda: started), Call(answer)


def test_workers_that_are_lost_are_replaced_and_their_tasks_run_by_others():
    tasks = [task("a"), task("b"), task("c", task("a"))]
    queue, deaths = TaskQueue(tasks, ignore), iter([RuntimeError("died"), RuntimeError("died")])
    run_on_workers(queue, 2, lambda: Scripted("", lambda one: next(deaths, RESULT) if one.key == "a" else RESULT))
    assert not queue.is_active and queue.failures == {}


def test_a_failed_task_is_recorded_with_those_that_need_it():
    tasks = [task("a"), task("b"), task("c", task("a"))]
    queue = TaskQueue(tasks, ignore)
    run_on_workers(queue, 2, lambda: Scripted("", lambda one: "no data" if one.key == "a" else RESULT))
    assert queue.failures == {"a": "no data", "c": "it needs a, which failed: no data"}


def test_a_worker_that_cannot_do_the_work_ends_it_with_its_reason():
    with pytest.raises(UserError, match="node7 cannot see it"):
        run_on_workers(TaskQueue([task("a")], ignore), 1, lambda: Scripted("--out x: node7 cannot see it"))
    hired: list[Scripted] = []

    def start_worker() -> Scripted:
        hired.append(Scripted(RuntimeError("no module named lthrun")))
        return hired[-1]

    with pytest.raises(UserError, match="workers fail to start: RuntimeError: no module named lthrun"):
        run_on_workers(TaskQueue([task("a")], ignore), 1, start_worker)
    assert len(hired) == RETRIES + 1


def test_few_workers_have_a_gpu_each_and_more_share_one_up_to_eight():
    machines = [{"Alive": True, "Resources": {"CPU": 16.0, "GPU": gpus}} for gpus in (2.0, 1.0)]
    machines += [{"Alive": True, "Resources": {"CPU": 1.0}}, {"Alive": False, "Resources": {"CPU": 9.0, "GPU": 9.0}}]
    assert count_places(machines, 3, True) == ([2, 1, 0], 1.0)
    assert count_places(machines, 4, True) == ([4, 2, 0], 1 / 2)
    assert count_places(machines, 100, True) == ([16, 8, 0], 1 / 8)
    assert count_places(machines, 100, False) == ([16, 16, 1], 0.0)
    with pytest.raises(UserError, match="no machine of the Ray cluster has a GPU"):
        count_places(machines[2:], 1, True)
    with pytest.raises(UserError, match="no machine of the Ray cluster has a free CPU"):
        count_places(machines[3:], 1, False)


def test_a_worker_says_why_its_machine_cannot_do_the_work(tmp_path: Path):
    marker = tmp_path / "marker"
    marker.touch()
    options, versions = RunOptions(tmp_path), describe_versions()
    assert RayWorker(options, marker, 1, versions).start() == ""
    assert "cannot see it" in RayWorker(options, tmp_path / "other", 1, versions).start()
    assert "'torch': '1.0'" in RayWorker(options, marker, 1, versions | {"torch": "1.0"}).start()


def test_without_ray_its_executor_says_how_to_get_it(
    lthrun: Callable, images: Path, tiny_model: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setitem(sys.modules, "ray", None)
    arguments = ("sweep", "baseline", "--grid", "seed=0", "--executor", "ray")
    outcome = lthrun(*small_command(images, tmp_path / "out", *arguments))
    assert outcome.status == 2 and "pip install 'lthrun[ray]'" in outcome.err.splitlines()[-1]
    assert not list((tmp_path / "out").rglob("*.safetensors")) and not list((tmp_path / "out").glob("levels/*"))


def test_a_cluster_that_is_not_there_is_refused_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UserError, match=f"RAY_ADDRESS: cannot connect to {address}: Connection refused"):
        EXECUTORS["ray"]([task("a")], LevelWorker(RunOptions(tmp_path)), ignore)


def test_an_unknown_executor_is_refused(lthrun: Callable):
    outcome = lthrun("sweep", "baseline", "--grid", "seed=0", "--executor", "slurm")
    assert outcome.status == 2 and "--executor: found slurm; must be one of local, ray" in outcome.err


def test_ray_is_connected_to_from_any_thread():
    """A notebook's or a web app's worker thread has no signal handlers to restore."""
    found: list[object] = []

    def use() -> None:
        ray = SimpleNamespace(init=lambda **_: found.append("connected"), shutdown=lambda: found.append("left"))
        try:
            with connect(ray, 1):
                found.append("used")
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert found == ["connected", "used", "left"]
