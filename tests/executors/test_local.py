"""Engines: the board, worker processes that are lost, and what the tasks of a graph come to."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lthrun.experiments.tasks import RunOptions, Task, graph

from lthrun.errors import UserError
from lthrun.executors import EXECUTORS, TaskQueue
from lthrun.executors.on_ray import RayWorker, finish, room, versions
from lthrun.executors.task_queue import RETRIES
from lthrun.experiments import load_config
from lthrun.levels.context import prepare
from lthrun.levels.plan import Conditions, Level
from lthrun.storage.level_store import LevelStore
from tests.conftest import SMALL, digest

CONFIG = load_config(None, "baseline")
CONDITIONS = Conditions({}, 1, "cpu", "float32")


def silent(*_: Any, **__: Any) -> None:
    pass


def task(key: str, parent: Task | None = None, origin: Task | None = None) -> Task:
    level = Level(0, 0.0, 0, 1, 1, key, parent and parent.level, origin and origin.level)
    return Task(CONFIG, level, key, CONDITIONS)


@st.composite
def graphs(draw: Callable) -> list[Task]:
    """Tasks of which each needs up to two of those before it."""
    tasks: list[Task] = []
    for k in range(draw(st.integers(1, 12))):
        parent, origin = (draw(st.sampled_from([None, *tasks])) for _ in range(2))
        tasks.append(task(str(k), parent, origin))
    return tasks


def descendants(tasks: list[Task], of: set[str]) -> set[str]:
    """Those that need one of `of`, directly or not; `tasks` come in order."""
    found: set[str] = set()
    for one in tasks:
        if set(one.needs) & (of | found):
            found.add(one.key)
    return found


@given(graphs(), st.data())
def test_no_task_comes_before_its_needs_and_a_failure_takes_along_exactly_those_that_need_it(
    tasks: list[Task], data: st.DataObject
):
    told: Counter[tuple[str, str]] = Counter()
    queue = TaskQueue(tasks, lambda kind, task, **_: told.update([(kind, task.key)]))
    bad = data.draw(st.sets(st.sampled_from([one.key for one in tasks])))
    under_way: list[Task] = []
    done: set[str] = set()
    tried: Counter[str] = Counter()
    while queue.open:
        taken = queue.take()
        if taken is not None:
            assert set(taken.needs) <= done and taken.key not in done
            tried[taken.key] += 1
            under_way.append(taken)
        assert under_way
        if taken is None or data.draw(st.booleans()):
            ended = under_way.pop(data.draw(st.integers(0, len(under_way) - 1)))
            if tried[ended.key] <= RETRIES and data.draw(st.booleans()):
                queue.lost(ended)
            elif ended.key in bad:
                queue.failed(ended, ValueError("bad"))
            else:
                done.add(ended.key)
                queue.done(ended, {})
    assert not under_way and queue.take() is None
    reached = bad - descendants(tasks, bad)
    assert set(queue.failures) == reached | descendants(tasks, reached)
    assert done == {one.key for one in tasks} - set(queue.failures)
    # Each is told once, whatever was lost on the way.
    expected = {("task", key) for key in done} | {("task_failed", key) for key in queue.failures}
    assert told == Counter(expected)


def test_a_task_that_loses_its_worker_again_and_again_fails_and_says_so():
    first = task("a")
    queue = TaskQueue([first, task("b", first)], silent)
    for _ in range(RETRIES + 1):
        assert queue.take() == first and queue.take() is None
        queue.lost(first)
    assert not queue.open
    assert "killed again and again" in queue.failures["a"] and "it needs a, which failed" in queue.failures["b"]


def test_a_graph_has_what_is_needed_once_and_first():
    dense = task("dense")
    one, other = task("one", dense), task("other", dense, dense)
    assert [t.key for t in graph([task("last", one), other, one])] == ["dense", "one", "last", "other"]


REAL = {"model.name": "resnet20", "pruning.steps": 1, "training.epochs": 1}


@pytest.fixture
def three(small: Callable) -> list[Task]:
    """Two tickets of two levels each, with level 0 in common: worker processes know no patched models."""
    settings = [prepare(small("ticket", **REAL, **{"pruning.sparsity": s}), silent) for s in (50, 80)]
    return graph(Task(s.resolved, level, f"level {level.index}", s.conditions) for s in settings for level in s.levels)


def trained(out: Path) -> dict[str, str]:
    return {path.parent.name: digest(path) for path in (out / "levels").glob("*/end.safetensors")}


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Bits depend on the number of threads, and processes that share two cores have one each."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def failing(one: Task) -> Task:
    """The same task, which its worker refuses, since it was named on other ground."""
    return replace(one, conditions=replace(one.conditions, epoch_steps=1))


@pytest.mark.usefixtures("one_thread")
def test_several_at_once_come_to_the_same_and_a_failing_task_stops_no_other(
    three: list[Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    told: list[tuple[str, str, bool]] = []

    def tell(kind: str, task: Task, found: Any = None, **_: Any) -> None:
        told.append((kind, task.key, bool(found and found["reused"])))

    assert EXECUTORS["local"](three, RunOptions(tmp_path / "one"), 1, silent, silent) == {}
    dense, first, second = three
    failures = EXECUTORS["local"]([dense, failing(first), second], RunOptions(tmp_path / "two"), 2, tell, silent)
    assert failures.keys() == {first.key} and "has other images, or another device" in failures[first.key]
    one, two = trained(tmp_path / "one"), trained(tmp_path / "two")
    assert one.keys() == {t.key for t in three} and two == {k: v for k, v in one.items() if k != first.key}
    assert Counter(told) == Counter(
        [("task", dense.key, False), ("task", second.key, False), ("task_failed", first.key, False)]
    )


def test_a_task_does_not_train_anew_what_it_needs(three: list[Task], tmp_path: Path, small: Callable):
    """Levels of `--fresh` are trained anew once, not by everyone that goes back to them."""
    rewound = prepare(small("ticket", **REAL | {"training.epochs": 2, "rewind.to": "1ep"}), silent)
    tasks = graph(Task(rewound.resolved, level, "", rewound.conditions) for level in rewound.levels)
    assert tasks[1].level.origin == tasks[0].level
    when = []
    for one in (tasks, tasks[1:]):
        assert EXECUTORS["local"](one, RunOptions(tmp_path, fresh=True), 1, silent, silent) == {}
        when.append([(tmp_path / "levels" / t.key / "level.json").stat().st_mtime_ns for t in tasks])
    assert when[0][0] == when[1][0] and when[0][1] < when[1][1]


CHAINED = ["compare", "--epochs", "60", "--seeds", "2", "--arms", "dense", "--jobs", "2", "--checkpoint-every", "2"]


def children(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(path.parent.name))
        except (OSError, ValueError):
            continue
    return found


def below(pid: int) -> Iterator[int]:
    for child in children(pid):
        yield child
        yield from below(child)


def workers(pid: int, out: Path) -> dict[int, str]:
    """The processes below `pid` that hold the lock of a level with a checkpoint, and its key."""
    found = {}
    for child in below(pid):
        try:
            held = {str(fd.readlink()) for fd in Path(f"/proc/{child}/fd").iterdir()}
        except OSError:
            continue
        for path in out.glob("levels/*.part/checkpoint.safetensors"):
            key = path.parent.name.removesuffix(".part")
            if str(out.resolve() / "levels" / f"{key}.lock") in held:
                found[child] = key
    return found


def kill_one(pid: int, out: Path, seconds: float = 100) -> str:
    """SIGKILL a process below `pid` that is training; the key of the level that it had not finished."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for worker, key in workers(pid, out).items():
            os.kill(worker, signal.SIGKILL)
            if not (out / "levels" / key).exists():
                return key
        time.sleep(0.02)
    raise AssertionError("no worker was seen to train")


def start(arguments: list[str], **environment: str) -> subprocess.Popen[str]:
    """`lthrun …` as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "lthrun", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def study(images: Path, out: Path, *more: str) -> list[str]:
    keys = SMALL | {"model.name": "resnet20", "data.dir": str(images)}
    sets = [part for key, value in keys.items() for part in ("--set", f"{key}={value}")]
    return [*more, *sets, "--device", "cpu", "--out", str(out)]


linux = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks processes up in /proc")


@linux
def test_a_killed_process_of_the_pool_loses_nothing_and_a_killed_parent_leaves_none(images: Path, tmp_path: Path):
    out = tmp_path / "out"
    process = start(study(images, out, *CHAINED))
    key = kill_one(process.pid, out)
    end = time.monotonic() + 100
    while key not in workers(process.pid, out).values() and time.monotonic() < end:
        assert process.poll() is None
        time.sleep(0.02)
    pool = list(below(process.pid))
    process.kill()
    process.communicate()
    while any(Path(f"/proc/{worker}/fd").exists() and alive(worker) for worker in pool) and time.monotonic() < end:
        time.sleep(0.05)
    assert not [worker for worker in pool if alive(worker)]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


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
    """A worker that answers as it is told, instead of an actor of Ray."""

    def __init__(self, begins: Any, answers: Callable[[Task], Any] = lambda task: {}):
        self.begin, self.do = Call(lambda: begins), Call(answers)


def test_workers_that_are_lost_are_replaced_and_their_tasks_done_by_others():
    tasks = [task("a"), task("b"), task("c", task("a"))]
    queue, deaths = TaskQueue(tasks, silent), iter([RuntimeError("died"), RuntimeError("died")])
    finish(queue, 2, lambda: Scripted("", lambda one: next(deaths, {}) if one.key == "a" else {}))
    assert not queue.open and queue.failures == {}


def test_a_worker_that_cannot_do_the_work_ends_it_with_its_reason():
    with pytest.raises(UserError, match="node7 does not see it"):
        finish(TaskQueue([task("a")], silent), 1, lambda: Scripted("--out x: node7 does not see it"))
    hired: list[Scripted] = []

    def start_worker() -> Scripted:
        hired.append(Scripted(RuntimeError("no module named lthrun")))
        return hired[-1]

    with pytest.raises(UserError, match="end before they have begun: RuntimeError: no module named lthrun"):
        finish(TaskQueue([task("a")], silent), 1, start_worker)
    assert len(hired) == RETRIES + 1


def test_few_workers_have_a_gpu_each_and_more_share_one_up_to_four():
    machines = [{"Alive": True, "Resources": {"CPU": 16.0, "GPU": gpus}} for gpus in (2.0, 1.0)]
    machines += [{"Alive": True, "Resources": {"CPU": 1.0}}, {"Alive": False, "Resources": {"CPU": 9.0, "GPU": 9.0}}]
    assert room(machines, 3, True) == ([2, 1, 0], 1.0)
    assert room(machines, 4, True) == ([4, 2, 0], 1 / 2)
    assert room(machines, 100, True) == ([8, 4, 0], 1 / 4)
    assert room(machines, 100, False) == ([16, 16, 1], 0.0)
    with pytest.raises(UserError, match="no machine of the Ray cluster has a GPU"):
        room(machines[2:], 1, True)


def test_a_worker_says_why_its_machine_will_not_do(tmp_path: Path):
    seen = tmp_path / "seen"
    seen.touch()
    options = RunOptions(tmp_path)
    assert RayWorker(options, seen, 1, versions()).begin() == ""
    assert "does not see it" in RayWorker(options, tmp_path / "elsewhere", 1, versions()).begin()
    assert "'torch': '1.0'" in RayWorker(options, seen, 1, versions() | {"torch": "1.0"}).begin()


def test_without_ray_its_engine_says_how_to_get_it(
    lthrun: Callable, images: Path, tiny_model: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setitem(sys.modules, "ray", None)
    outcome = lthrun(*study(images, tmp_path / "out", "sweep", "baseline", "--grid", "seed=0", "--engine", "ray"))
    assert outcome.status == 2 and "pip install 'lthrun[ray]'" in outcome.err.splitlines()[-1]
    assert LevelStore(tmp_path / "out").record("") is None and not list((tmp_path / "out").rglob("*.safetensors"))


def test_a_cluster_that_is_not_there_is_refused_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UserError, match=f"RAY_ADDRESS: nobody answers at {address}: Connection refused"):
        EXECUTORS["ray"]([task("a")], RunOptions(tmp_path), 1, silent, silent)


def test_an_unknown_engine_is_refused(lthrun: Callable):
    outcome = lthrun("sweep", "baseline", "--grid", "seed=0", "--engine", "slurm")
    assert outcome.status == 2 and "--engine: found slurm; must be one of local, ray" in outcome.err


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_ends_a_graph_at_once(code: int):
    """The others would fail as well, after hours of training."""
    queue = TaskQueue([task("a"), task("b")], silent)
    with pytest.raises(OSError, match="x"):
        queue.failed(queue.take(), OSError(code, "x", "levels/a"))  # type: ignore[arg-type]
    assert not queue.failures
    queue = TaskQueue([task("a"), task("b")], silent)
    queue.failed(queue.take(), OSError(errno.EIO, "broken", "levels/a"))  # type: ignore[arg-type]
    assert queue.failures == {"a": "levels/a: broken"} and queue.take() is not None
