"""What an experiment would do: which levels it would train or reuse, for how long, on how much disk."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from lthrun.analysis.power import WordChances
from lthrun.config.base import ExperimentConfig
from lthrun.executors.tasks import LevelTask, RunOptions
from lthrun.executors.worker import LevelWorker
from lthrun.experiments.disk_space import is_missing, level_bytes, run_bytes
from lthrun.experiments.reading import read_finished
from lthrun.experiments.run import Run
from lthrun.experiments.sweep import SweepRun
from lthrun.levels.plan import Level
from lthrun.records import Record
from lthrun.storage.level_store import LevelStore
from lthrun.storage.run_dir import RunDir

if TYPE_CHECKING:
    from lthrun.levels.builder import LevelBuilder

TRIAL_STEPS = 4


class DryRunRow(Record):
    """What a group of levels (one level of a run, an arm, a run of a sweep) adds to the groups before it."""

    name: str
    levels: int
    to_train: int
    reused: int
    seconds: float
    """Of training and of evaluations after it, one after the other."""
    bytes: int
    is_finished: bool = False


class DryRun(Record):
    """What an experiment would do; nothing is trained."""

    experiment: str
    run_dir: str
    is_finished: bool
    device: str
    group: str
    """What a row is: level, arm or run."""
    rows: list[DryRunRow]
    evaluated_networks: int
    """Networks that are evaluated after the training."""
    levels: int
    to_train: int
    reused: int
    seconds: float
    bytes: int
    no_verdict: str | None = None
    """Of a study: why it cannot have a verdict."""
    chances: list[WordChances] = Field([])
    """Of a study: the chance of each word."""


def foresee_run(run: Run, out: Path, fresh: bool, config: ExperimentConfig | None = None) -> DryRun:
    """The dry run of a run, with a row per level, or of a study, with a row per arm.

    `config` is that of a study that may grow to `run`.
    """
    run_dir = RunDir(out / run.name)
    groups = {planned.about: planned.group for planned in run.planned}
    tasks: dict[str, list[LevelTask]] = {}
    for task in run.tasks:
        tasks.setdefault(groups[task.about], []).append(task)
    is_finished = not fresh and read_finished(run_dir, run.config) is not None
    estimator = Estimator(out, fresh)
    rows = [estimator.estimate(name, run, own) for name, own in tasks.items()]
    networks, seconds, own_bytes = (0, 0.0, 0) if is_finished else estimator.estimate_evaluations(run)
    group = "arm" if run.experiment.is_study else "level"
    return summarize(
        rows, group, networks, seconds, own_bytes, experiment=run.config.experiment, run_dir=str(out / run.name),
        is_finished=is_finished, device=str(run.context.device),
        **run.experiment.foresee(config or run.config, run_dir),
    )  # fmt: skip


def foresee_sweep(runs: Sequence[SweepRun], out: Path) -> DryRun:
    """The dry run of a sweep, with a row per run."""
    estimator, rows, networks = Estimator(out, False), [], 0
    for sweep in runs:
        if sweep.is_finished(out):
            rows.append(estimator.estimate(sweep.name, sweep.run, []).model_copy(update={"is_finished": True}))
            continue
        row = estimator.estimate(sweep.name, sweep.run, sweep.run.tasks)
        count, seconds, own_bytes = estimator.estimate_evaluations(sweep.run)
        networks += count
        rows.append(row.model_copy(update={"seconds": row.seconds + seconds, "bytes": row.bytes + own_bytes}))
    return summarize(
        rows, "run", networks, 0.0, 0, experiment="sweep", run_dir=str(out),
        is_finished=all(row.is_finished for row in rows), device=str(runs[0].run.context.device),
    )  # fmt: skip


def summarize(rows: list[DryRunRow], group: str, networks: int, seconds: float, own_bytes: int, **facts: Any) -> DryRun:
    return DryRun(
        **facts,
        group=group,
        rows=rows,
        evaluated_networks=networks,
        levels=sum(row.levels for row in rows),
        to_train=sum(row.to_train for row in rows),
        reused=sum(row.reused for row in rows),
        seconds=sum(row.seconds for row in rows) + seconds,
        bytes=sum(row.bytes for row in rows) + own_bytes,
    )


@dataclass(frozen=True)
class Pace:
    """Seconds of a training step, and of a validation on all images."""

    step: float
    validation: float


class Estimator:
    """Estimates time and disk from a few real steps on this machine. A level counts where it is needed first."""

    def __init__(self, out: Path, fresh: bool):
        self.options, self.levels, self.fresh = RunOptions(out), LevelStore(out), fresh
        self._seen: set[str] = set()
        self._paces: dict[Any, Pace] = {}

    def estimate(self, name: str, run: Run, tasks: Sequence[LevelTask]) -> DryRunRow:
        own = [task for task in tasks if task.key not in self._seen]
        self._seen |= {task.key for task in own}
        missing = [task for task in own if is_missing(task, self.levels, self.fresh)]
        epoch_steps = run.context.conditions.epoch_steps
        return DryRunRow(
            name=name,
            levels=len(own),
            to_train=len(missing),
            reused=len(own) - len(missing),
            seconds=sum(self._training_seconds(run, task.config, task.level) for task in missing),
            bytes=sum(level_bytes(task.level, run.model_size, epoch_steps) for task in missing),
        )

    def estimate_evaluations(self, run: Run) -> tuple[int, float, int]:
        """Networks evaluated after the training, their seconds, and the bytes of the run directory."""
        networks, is_recalibrated = run.experiment.count_evaluations(run.config, run.levels)
        context = run.context
        passes = 1 + (len(context.split.train) / len(context.split.valid) if is_recalibrated else 0)
        seconds = networks * passes * self._pace(run).validation if networks else 0.0
        return networks, seconds, run_bytes(run)

    def _training_seconds(self, run: Run, config: ExperimentConfig, level: Level) -> float:
        pace, training, n_valid = self._pace(run), config.training, len(run.context.split.valid)
        share = min(1.0, (training.evaluate_images or n_valid) / n_valid)
        interim = level.steps // training.evaluate_every * share if training.evaluate_every else 0.0
        epochs = level.epochs(run.context.conditions.epoch_steps)
        return level.steps * pace.step + (epochs + interim) * pace.validation

    def _pace(self, run: Run) -> Pace:
        from lthrun.training.backend_flags import backend_flags

        config = run.planned[0].config
        kind = (config.data, config.device, config.precision, config.model.name, config.training.optimizer,
                config.training.batch_size)  # fmt: skip
        if kind not in self._paces:
            with backend_flags(run.context.device, config.deterministic):
                worker = LevelWorker(self.options, context=run.context)
                self._paces[kind] = time_steps(worker.builder(config))
        return self._paces[kind]


def time_steps(builder: LevelBuilder) -> Pace:
    """The pace on this machine, from a few real steps on the real images."""
    engine = builder.make_engine({}, builder.states.initial(), {})
    engine.model.train()
    taken = []
    for step in range(engine.warm_ups + TRIAL_STEPS):
        began = time.perf_counter()
        engine.step(builder.batches.training_batch(step % builder.epoch_steps))
        engine.take_loss()  # waits for the device
        taken.append(time.perf_counter() - began)
    batch = next(builder.batches.validation_batches())
    began = time.perf_counter()
    engine.evaluate([batch], builder.classes)
    per_image = (time.perf_counter() - began) / len(batch[1])
    return Pace(statistics.median(taken[engine.warm_ups + 1 :]), per_image * builder.batches.n_valid)
