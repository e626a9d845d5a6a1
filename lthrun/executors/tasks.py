"""A graph of levels: what has to be trained, and what each needs first.

The keys of levels are known before anything is trained. So a level that several experiments share is one task, and an
executor may give the tasks to any number of workers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from lthrun.config.base import ExperimentConfig
from lthrun.config.fields import CHECKPOINT_EVERY, parse_interval
from lthrun.levels.keys import Conditions
from lthrun.levels.plan import Level


@dataclass(frozen=True)
class RunOptions:
    """How levels are trained; none of it changes a number.

    Attributes:
        out: the output root.
        fresh: train the levels of this run again, even if they are cached.
        checkpoint_every: the time, epochs or steps between checkpoints: 30s (at the end of an epoch), 1ep or 200it.
        executor, jobs: who trains the levels (lthrun.executors), and how many at once.
    """

    out: Path
    fresh: bool = False
    checkpoint_every: str = CHECKPOINT_EVERY
    executor: str = "local"
    jobs: int | None = None

    def __post_init__(self) -> None:
        parse_interval(self.checkpoint_every)


@dataclass(frozen=True)
class LevelTask:
    """A level to train by `config`, under the `conditions` that its key was computed with.

    Attributes:
        about: what it is, for people.
        is_replay: whether it only leads to a rewind point, so that its epochs are not part of the run.
    """

    config: ExperimentConfig
    level: Level
    about: str
    conditions: Conditions
    is_replay: bool = False

    @property
    def key(self) -> str:
        return self.level.key

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(level.key for level in self.level.needs)


def complete_graph(tasks: Iterable[LevelTask]) -> list[LevelTask]:
    """The tasks and the levels that they need, each once, none before what it needs. A level that is needed and is not
    among the tasks is a replay."""
    wanted = list(tasks)
    own = {task.key for task in wanted}
    graph: dict[str, LevelTask] = {}

    def add(task: LevelTask) -> None:
        if task.key not in graph:
            for level in task.level.needs:
                add(replace(task, level=level, is_replay=level.key not in own))
            graph[task.key] = task

    for task in wanted:
        add(task)
    return list(graph.values())
