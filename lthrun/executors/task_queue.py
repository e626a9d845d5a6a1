"""The board on which an engine keeps what is to be done, under way, done and failed."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from lthrun.errors import UserError, escape_unprintable
from lthrun.experiments.tasks import Task

Tell = Callable[..., None]
"""Called as `tell("task", task=…, found=…)` or `tell("task_failed", task=…, why=…)` when a task has ended."""
RETRIES = 2
UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES}


class TaskQueue:
    """The tasks of a graph, in order; one that fails takes along those that need it."""

    def __init__(self, tasks: Sequence[Task], tell: Tell):
        self._tasks = {task.key: task for task in tasks}
        self._unmet = {task.key: set(task.needs) & self._tasks.keys() for task in tasks}
        self._under_way: set[str] = set()
        self._lost: Counter[str] = Counter()
        self._tell = tell
        self.failures: dict[str, str] = {}

    @property
    def open(self) -> bool:
        """Whether anything is still to be done or under way."""
        return bool(self._unmet or self._under_way)

    def take(self) -> Task | None:
        """The next task whose needs are met, now under way; None where there is none at present."""
        for key, unmet in self._unmet.items():
            if not unmet:
                del self._unmet[key]
                self._under_way.add(key)
                return self._tasks[key]
        return None

    def done(self, task: Task, found: dict[str, Any]) -> None:
        self._under_way.discard(task.key)
        for unmet in self._unmet.values():
            unmet.discard(task.key)
        self._tell("task", task=task, found=found)

    def lost(self, task: Task) -> None:
        """Put back a task whose worker was lost, `RETRIES` times; what it trained up to its last checkpoint is kept."""
        self._lost[task.key] += 1
        if self._lost[task.key] > RETRIES:
            self.failed(task, "its process was killed again and again, as when memory runs out: lower --jobs")
        else:
            self._under_way.discard(task.key)
            self._unmet[task.key] = set()

    def failed(self, task: Task, error: BaseException | str) -> None:
        """Say why; what needs it cannot be done either.

        Raises:
            OSError: there is no room to write, or it is not allowed: the others would fail as well.
        """
        if isinstance(error, OSError) and error.errno in UNWRITABLE:
            raise error
        self._under_way.discard(task.key)
        why = error if isinstance(error, str) else reason(error)
        self.failures[task.key] = why
        self._tell("task_failed", task=task, why=why)
        for key in [key for key, unmet in self._unmet.items() if task.key in unmet]:
            if self._unmet.pop(key, None) is not None:
                self.failed(self._tasks[key], f"it needs {task.about}, which failed: {why}"[:500])


def reason(error: BaseException) -> str:
    """Why a task failed, on one line."""
    if isinstance(error, OSError) and error.filename:
        return escape_unprintable(f"{error.filename}: {error.strerror}")[:500]
    text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return escape_unprintable(text)[:500]
