"""The graph of tasks and its queue: the order, tasks that fail, workers that are lost."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lthrun.events import Event, LevelFailed, LevelFinished, ignore
from lthrun.executors.task_queue import RETRIES, TaskQueue
from lthrun.executors.tasks import LevelTask, complete_graph
from tests.executors.tasks import RESULT, task


@st.composite
def graphs(draw: Callable) -> list[LevelTask]:
    """Tasks of which each needs up to two of those before it."""
    tasks: list[LevelTask] = []
    for k in range(draw(st.integers(1, 12))):
        parent, origin = (draw(st.sampled_from([None, *tasks])) for _ in range(2))
        tasks.append(task(str(k), parent, origin))
    return tasks


def descendants(tasks: list[LevelTask], of: set[str]) -> set[str]:
    """Those that need one of `of`, directly or not; `tasks` come in order."""
    reached: set[str] = set()
    for one in tasks:
        if set(one.needs) & (of | reached):
            reached.add(one.key)
    return reached


@given(graphs(), st.data())
def test_no_task_comes_before_its_needs_and_a_failure_fails_exactly_those_that_need_it(
    tasks: list[LevelTask], data: st.DataObject
):
    events: Counter[tuple[type[Event], str]] = Counter()

    def emit(event: Event) -> None:
        assert isinstance(event, LevelFinished | LevelFailed)
        events[type(event), event.key] += 1

    queue = TaskQueue(tasks, emit)
    bad = data.draw(st.sets(st.sampled_from([one.key for one in tasks])))
    running: list[LevelTask] = []
    done: set[str] = set()
    tried: Counter[str] = Counter()
    while queue.is_active:
        taken = queue.take()
        if taken is not None:
            assert set(taken.needs) <= done and taken.key not in done
            tried[taken.key] += 1
            running.append(taken)
        assert running
        if taken is None or data.draw(st.booleans()):
            ended = running.pop(data.draw(st.integers(0, len(running) - 1)))
            if tried[ended.key] <= RETRIES and data.draw(st.booleans()):
                queue.retry(ended)
            elif ended.key in bad:
                queue.fail(ended, ValueError("bad"))
            else:
                done.add(ended.key)
                queue.finish(ended, RESULT)
    assert not running and queue.take() is None
    reached = bad - descendants(tasks, bad)
    assert set(queue.failures) == reached | descendants(tasks, reached)
    assert done == {one.key for one in tasks} - set(queue.failures)
    # Each is reported once, whatever was lost in between.
    expected = {(LevelFinished, key) for key in done} | {(LevelFailed, key) for key in queue.failures}
    assert events == Counter(expected)


def test_a_task_whose_worker_dies_again_and_again_fails_and_says_so():
    first = task("a")
    queue = TaskQueue([first, task("b", first)], ignore)
    for _ in range(RETRIES + 1):
        assert queue.take() == first and queue.take() is None
        queue.retry(first)
    assert not queue.is_active
    assert "its worker died 3 times" in queue.failures["a"] and "it needs a, which failed" in queue.failures["b"]


def test_a_graph_has_what_is_needed_once_and_first():
    dense = task("dense")
    one, other = task("one", dense), task("other", dense, dense)
    graph = complete_graph([task("last", one), other, one])
    assert [(t.key, t.is_replay) for t in graph] == [("dense", True), ("one", False), ("last", False), ("other", False)]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES])
def test_a_full_disk_ends_a_graph_at_once(code: int):
    """The others would fail as well, after hours of training."""
    queue = TaskQueue([task("a"), task("b")], ignore)
    with pytest.raises(OSError, match="x"):
        queue.fail(queue.take(), OSError(code, "x", "levels/a"))  # type: ignore[arg-type]
    assert not queue.failures


def test_another_error_of_the_disk_fails_its_task_alone():
    queue = TaskQueue([task("a"), task("b")], ignore)
    queue.fail(queue.take(), OSError(errno.EIO, "broken", "levels/a"))  # type: ignore[arg-type]
    assert queue.failures == {"a": "levels/a: broken"} and queue.take() is not None
