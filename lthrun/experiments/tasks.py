"""A graph of levels: what has to be trained, and what each needs before.

Levels are named by their keys, which are known before anything is trained. So whatever several experiments have in
common is one task, and an engine (lthrun.executors) may hand the tasks to any number of processes.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lthrun.config import Config
from lthrun.errors import UserError
from lthrun.experiments.context import RunContext, find_device, prepare
from lthrun.levels.plan import Conditions, Level
from lthrun.storage.level_store import LevelStore

if TYPE_CHECKING:
    from lthrun.levels.builder import LevelBuilder


@dataclass(frozen=True)
class Task:
    """A level to be obtained by the rules of `config`, on the `conditions` on which it was named; `about` says in words
    what it is."""

    config: Config
    level: Level
    about: str
    conditions: Conditions

    @property
    def key(self) -> str:
        return self.level.key

    @property
    def needs(self) -> tuple[str, ...]:
        """The keys of the tasks to be finished before: the way to its rewind point, and its mask's parent."""
        return tuple(other.key for other in (self.level.origin, self.level.parent) if other)


def graph(wanted: Iterable[Task]) -> list[Task]:
    """The tasks, and all that they need, each once, and none before what it needs."""
    found: dict[str, Task] = {}

    def add(task: Task) -> None:
        if task.key not in found:
            for other in (task.level.origin, task.level.parent):
                if other:
                    add(replace(task, level=other))
            found[task.key] = task

    for task in wanted:
        add(task)
    return list(found.values())


@dataclass(frozen=True)
class RunOptions:
    """How tasks are done: under the output root `out`, trained anew if `fresh`, with extra checkpoints."""

    out: Path
    fresh: bool = False
    checkpoint_every: int | None = None


class Worker:
    """Does tasks, one after the other. Keeps the images and the lab it was last asked for."""

    def __init__(self, options: RunOptions, emit: Callable[..., None] = lambda *_, **__: None):
        self.options, self.emit = options, emit
        self._base: RunContext | None = None
        self._lab: LevelBuilder | None = None

    def __call__(self, task: Task) -> dict[str, Any]:
        """What is known of the level once it is finished: `reused`, `seconds`, `accuracy` (0 to 1), `sparsity`.

        Raises:
            UserError: its training did not come to an end, or this machine would train another level.
        """
        import torch

        from lthrun.training.backend_flags import backend_flags

        try:
            with backend_flags(find_device(task.config.device), task.config.deterministic):
                record = self._at_home(task).get_or_train(task.level, done=task.needs)
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"device: {task.config.device} is out of memory; lower --jobs or training.batch_size"
            ) from error
        last = record["epochs"][-1]
        return {
            "reused": record["reused"],
            "seconds": sum(epoch["seconds"] for epoch in record["epochs"]),
            "accuracy": last["accuracy"],
            "sparsity": record["sparsity"],
        }

    def _at_home(self, task: Task) -> LevelBuilder:
        from lthrun.levels.builder import LevelBuilder

        if self._base is None or home(self._base.config) != home(task.config):
            self._base, self._lab = prepare(task.config, self.emit), None
        if self._base.conditions != task.conditions:
            raise UserError(
                f"data: {platform.node()} has other images, or another device, than the machine that named the levels: "
                "give all of them the same copy with --data-dir"
            )
        if self._lab is None or self._lab.config != task.config:
            context = replace(self._base, config=task.config, levels=[task.level])
            levels = LevelStore(self.options.out)
            self._lab = LevelBuilder(context, levels, self.emit, self.options.fresh, self.options.checkpoint_every)
        return self._lab


def home(config: Config) -> tuple[Any, ...]:
    """What a config takes from its machine: configs that agree here share images, split and device."""
    return (config.data, config.device, config.precision, config.deterministic, config.training.batch_size)
