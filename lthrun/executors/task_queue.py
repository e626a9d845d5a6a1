"""The tasks of a graph that are ready, running, finished and failed."""

from __future__ import annotations

import errno
import heapq
from collections import Counter
from collections.abc import Sequence
from graphlib import TopologicalSorter

from lthrun.errors import UserError, escape_unprintable
from lthrun.events import Emit, LevelFailed, LevelFinished
from lthrun.executors.tasks import LevelTask
from lthrun.executors.worker import LevelResult

RETRIES = 2
UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES}
LONGEST_REASON = 500


class TaskQueue:
    """Hands out tasks in order, each after what it needs. A task that fails fails the tasks that need it."""

    def __init__(self, tasks: Sequence[LevelTask], emit: Emit):
        self._tasks = list(tasks)
        self._places = {task.key: place for place, task in enumerate(tasks)}
        self._sorter = TopologicalSorter({t.key: [key for key in t.needs if key in self._places] for t in tasks})
        self._sorter.prepare()
        self._ready: list[int] = []
        self._lost: Counter[str] = Counter()
        self._emit = emit
        self.failures: dict[str, str] = {}

    @property
    def is_active(self) -> bool:
        """Whether a task is still to be run, or running."""
        self._collect_ready()
        return self._sorter.is_active()

    def take(self) -> LevelTask | None:
        """The next task whose needs are met; None while there is none."""
        self._collect_ready()
        return self._tasks[heapq.heappop(self._ready)] if self._ready else None

    def finish(self, task: LevelTask, result: LevelResult) -> None:
        self._sorter.done(task.key)
        self._emit(LevelFinished(task.key, task.about, task.level.index, **vars(result)))

    def retry(self, task: LevelTask) -> None:
        """Put back a task whose worker died, `RETRIES` times; it resumes from its last checkpoint."""
        self._lost[task.key] += 1
        if self._lost[task.key] > RETRIES:
            self.fail(task, f"its worker died {RETRIES + 1} times (out of memory?): lower --jobs")
        else:
            heapq.heappush(self._ready, self._places[task.key])

    def fail(self, task: LevelTask, error: BaseException | str) -> None:
        """Record why; the tasks that need it fail as well.

        Raises:
            OSError: the disk is full or not writable: every other task would fail too.
        """
        if isinstance(error, OSError) and error.errno in UNWRITABLE:
            raise error
        self._fail(task, error if isinstance(error, str) else describe_error(error))
        self._sorter.done(task.key)

    def _fail(self, task: LevelTask, reason: str) -> None:
        self.failures[task.key] = reason
        self._emit(LevelFailed(task.key, task.about, task.level.index, reason))
        for other in self._tasks:
            if task.key in other.needs and other.key not in self.failures:
                self._fail(other, f"it needs {task.about}, which failed: {reason}"[:LONGEST_REASON])

    def _collect_ready(self) -> None:
        while self._sorter.is_active() and (keys := self._sorter.get_ready()):
            for key in keys:
                if key in self.failures:
                    self._sorter.done(key)
                else:
                    heapq.heappush(self._ready, self._places[key])


def describe_error(error: BaseException) -> str:
    """Why a task failed, on one line."""
    if isinstance(error, OSError) and error.filename:
        text = f"{error.filename}: {error.strerror}"
    else:
        text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return escape_unprintable(text)[:LONGEST_REASON]
