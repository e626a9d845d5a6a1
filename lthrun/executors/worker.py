"""A worker: runs tasks one after the other, and keeps the images and the model of the last one."""

from __future__ import annotations

import platform
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lthrun.config.base import ExperimentConfig
from lthrun.errors import UserError
from lthrun.events import Emit, ignore
from lthrun.executors.tasks import LevelTask, RunOptions
from lthrun.levels.context import RunContext, find_device, prepare, share_images
from lthrun.storage.level_store import LevelStore

if TYPE_CHECKING:
    from lthrun.levels.builder import LevelBuilder


@dataclass(frozen=True)
class LevelResult:
    """What is known of a finished level: training seconds, accuracy 0 to 1, sparsity in percent."""

    is_reused: bool
    seconds: float
    accuracy: float
    sparsity: float


class LevelWorker:
    """Trains the levels of tasks. `context` may be one that is prepared already; `stop` ends a training after its step,
    which is saved."""

    def __init__(
        self,
        options: RunOptions,
        emit: Emit = ignore,
        context: RunContext | None = None,
        stop: threading.Event | None = None,
    ):
        self.options, self.emit, self.stop = options, emit, stop
        self.levels = LevelStore(options.out)
        self.context = context
        self._builder: LevelBuilder | None = None

    def run(self, task: LevelTask) -> LevelResult:
        """Get the task's level from the cache, or train it.

        Raises:
            UserError: its training failed, or this machine would train another level.
        """
        from lthrun.levels.cache import get_or_train
        from lthrun.training.backend_flags import backend_flags
        from lthrun.training.cpu_threads import choose_threads
        from lthrun.training.memory_errors import explain_out_of_memory

        config = task.config
        device, threads = find_device(config.device), choose_threads(config)
        flags = backend_flags(device, config.deterministic, task.level.steps, threads)
        with explain_out_of_memory(config.device), flags:
            builder = self.builder(config)
            if builder.context.conditions != task.conditions:
                raise UserError(
                    f"data: {platform.node()} has other images, or another device, than the machine that planned the "
                    "levels: give all machines the same copy with --data-dir"
                )
            record, is_reused = get_or_train(builder, task.level, task.is_replay)
        seconds = sum(epoch.seconds for epoch in record.epochs)
        return LevelResult(is_reused, seconds, record.epochs[-1].accuracy, record.sparsity)

    def builder(self, config: ExperimentConfig) -> LevelBuilder:
        """The builder of a config's levels; the last one is kept, and so are images that two configs share."""
        from lthrun.levels.builder import LevelBuilder

        if self._builder is not None and self._builder.config == config:
            return self._builder
        if self.context is None or not share_images(self.context.config, config):
            self.context, self._builder = prepare(config, self.emit), None
        context = replace(self.context, config=config)
        options = self.options
        how = (options.fresh, options.checkpoint_every, self.stop)
        self._builder = LevelBuilder(context, self.levels, self.emit, *how)
        return self._builder
