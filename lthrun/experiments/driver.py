"""The driver: trains what a run needs, evaluates it, and writes everything down. It is the same for every experiment.

Levels are trained by an executor; what follows is the experiment's own (lthrun.experiments.experiment). A run that was
interrupted resumes: its levels are cached, and a level in training has checkpoints.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lthrun.config.base import ExperimentConfig
from lthrun.config.loading import dump
from lthrun.events import (
    AlreadyFinished,
    Emit,
    EpochFinished,
    Event,
    ImagesFound,
    LevelEvent,
    LevelFinished,
    RunFinished,
    Waiting,
    ignore,
    without,
)
from lthrun.executors import EXECUTORS
from lthrun.executors.tasks import LevelTask, RunOptions
from lthrun.executors.worker import LevelResult, LevelWorker
from lthrun.experiments.disk_space import check_disk_space
from lthrun.experiments.reading import AnySummary, read_finished
from lthrun.experiments.run import Run, prepare_run
from lthrun.experiments.trained_run import TrainedRun
from lthrun.storage.run_dir import EVALUATIONS, EVENTS, METRICS, RunDir


@dataclass(frozen=True)
class Result:
    """A finished run: its summary, a record per epoch, and its directory."""

    summary: AnySummary
    metrics: list[dict[str, Any]]
    run_dir: Path


def run_experiment(config: ExperimentConfig, options: RunOptions, emit: Emit = ignore) -> Result:
    """Run an experiment, or resume an earlier run with the same settings. A study may have several rounds.

    Raises:
        UserError: data, device or settings do not allow it; the message says what would.
    """
    return execute_rounds(prepare_run(config, emit), options, emit)


def execute_rounds(run: Run, options: RunOptions, emit: Emit) -> Result:
    """Execute a run, and then what its results ask for: a study may grow until it is decided."""
    result = execute(run, options, emit)
    while larger := run.experiment.plan_next(run.config, result.summary):
        run = prepare_run(larger, without(ImagesFound, emit))
        result = execute(run, replace(options, fresh=False), emit)
    return result


def execute(run: Run, options: RunOptions, emit: Emit) -> Result:
    """Train, evaluate and write down a run, unless it is finished."""
    from lthrun.training.backend_flags import backend_flags
    from lthrun.training.cpu_threads import choose_threads
    from lthrun.training.memory_errors import explain_out_of_memory

    run_dir = RunDir(options.out / run.name)
    run_dir.check_format()
    with run_dir.lock(lambda: emit(Waiting(f"the run {run_dir.path}"))):
        finished = None if options.fresh else read_finished(run_dir, run.config)
        if finished is not None:
            emit(AlreadyFinished(str(run_dir.path)))
            return Result(*finished, run_dir.path)
        device, steps = run.context.device, sum(task.level.steps for task in run.tasks)
        flags = backend_flags(device, run.config.deterministic, steps, choose_threads(run.config))
        with explain_out_of_memory(str(device)), flags:
            summary = train_and_evaluate(run, run_dir, options, emit)
    return Result(summary, run_dir.read_metrics() or [], run_dir.path)


def train_and_evaluate(run: Run, run_dir: RunDir, options: RunOptions, emit: Emit) -> AnySummary:
    from lthrun.levels.environment import describe_environment

    check_disk_space([run], options.out, options.fresh)
    recorder = Recorder(run, run_dir, emit)
    environment = describe_environment(run.context.device)
    restarted = [*([] if run.experiment.is_study else [METRICS]), *([EVENTS, EVALUATIONS] if options.fresh else [])]
    run_dir.start(dump(run.context.config), {**environment, "levels": [task.key for task in run.tasks]}, restarted)
    run_dir.write_splits(run.context.held_out)
    run.experiment.announce(run, recorder)
    worker = LevelWorker(options, recorder, run.context)
    failures = {}
    if run.experiment.is_study:
        failures = train_graph(run.tasks, worker, recorder)
    else:  # a chain needs all its levels: its first error ends the run
        recorder.results |= {task.key: worker.run(task) for task in run.tasks}
    trained: TrainedRun[Any] = TrainedRun(run, run_dir, worker, recorder.results, failures, recorder)
    summary = run.experiment.evaluate(trained)
    run_dir.finish(summary.model_dump(mode="json"))
    recorder(RunFinished(str(run_dir.path)))
    return summary


def train_graph(tasks: Sequence[LevelTask], worker: LevelWorker, emit: Emit) -> dict[str, str]:
    """Train levels by the executor of the worker's options. Why each level that failed did, by key."""
    failures: dict[str, str] = EXECUTORS[worker.options.executor](tasks, worker, emit)
    return failures


class Recorder:
    """Writes events into the run directory, and passes on those that are shown. Collects the results of levels."""

    def __init__(self, run: Run, run_dir: RunDir, emit: Emit):
        self.is_study, self.run_dir, self.emit = run.experiment.is_study, run_dir, emit
        self.results: dict[str, LevelResult] = {}
        self.epochs = 0

    def __call__(self, event: Event) -> None:
        if self.is_study and isinstance(event, LevelEvent):
            return
        if isinstance(event, EpochFinished):
            self.run_dir.append_metrics(describe_epoch(self.epochs, event))
            self.epochs += 1
        elif event.is_recorded:
            self.run_dir.append_event({**event.to_dict(), "time": time.time()})
        if isinstance(event, LevelFinished):
            self.results[event.key] = LevelResult(event.is_reused, event.seconds, event.accuracy, event.sparsity)
        self.emit(event)


def describe_epoch(epoch: int, event: EpochFinished) -> dict[str, Any]:
    """A line of a run's metrics.jsonl; `epoch` counts over the whole run."""
    facts = event.record.to_dict()
    keys = ("sparsity", "train_loss", "valid_loss", "accuracy", "balanced_accuracy", "seconds", "images_per_second")
    line = {"epoch": epoch, "level": event.level, "level_epoch": facts["level_epoch"]}
    line |= {key: facts[key] for key in (*keys, "time")}
    if facts["interim_evaluations"]:
        line["interim_evaluations"] = facts["interim_evaluations"]
    return line | (event.test.metrics if event.test else {})
