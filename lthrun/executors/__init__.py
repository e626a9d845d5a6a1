"""Engines: who does the tasks of a graph. A new one is one function, and one line in `EXECUTORS`.

An engine is given tasks of which none comes before what it needs, and does them all but for those that fail, and those
that need one that failed. Results lie in the levels under the output root; nothing else comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lthrun.executors.local import local
from lthrun.executors.on_ray import on_ray
from lthrun.executors.task_queue import TaskQueue, Tell
from lthrun.experiments.tasks import RunOptions, Task

Engine = Callable[[Sequence[Task], RunOptions, "int | None", Tell, Callable[..., None]], dict[str, str]]
EXECUTORS: dict[str, Engine] = {"local": local, "ray": on_ray}

__all__ = ["ENGINES", "Engine", "TaskQueue", "Tell"]
