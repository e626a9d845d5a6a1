"""Sweep: one experiment at every point of a grid, the levels of all runs trained as one graph."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lthrun.config.base import ExperimentConfig
from lthrun.errors import MissingData, UserError
from lthrun.events import (
    Busy,
    Damaged,
    Decoding,
    Emit,
    Evaluated,
    Evaluating,
    LevelEvent,
    SweepStarted,
    Waiting,
    only,
    without,
)
from lthrun.executors.task_queue import describe_error
from lthrun.executors.tasks import RunOptions, complete_graph
from lthrun.executors.worker import LevelWorker
from lthrun.experiments.disk_space import check_disk_space
from lthrun.experiments.driver import execute, train_graph
from lthrun.experiments.reading import AnySummary, read_finished
from lthrun.experiments.run import Run, prepare_run
from lthrun.storage.run_dir import RunDir


@dataclass(frozen=True)
class SweepRun:
    """A run at a point of the grid: values by config key."""

    point: Mapping[str, Any]
    run: Run

    @property
    def name(self) -> str:
        return describe_point(self.point)

    def is_finished(self, out: Path) -> bool:
        return read_finished(RunDir(out / self.run.name), self.run.config) is not None


def describe_point(point: Mapping[str, Any]) -> str:
    """`sparsity=50, criterion=snip`."""
    return ", ".join(
        f"{key.rpartition('.')[2]}={value if isinstance(value, str) else json.dumps(value)}"
        for key, value in point.items()
    )


@contextmanager
def at_point(point: Mapping[str, Any]) -> Iterator[None]:
    """Name the point of the grid in an error."""
    try:
        yield
    except MissingData:
        raise
    except UserError as error:
        raise UserError(f"--grid, at {describe_point(point)}: {error}") from None


def prepare_sweep(
    configs: Sequence[tuple[Mapping[str, Any], ExperimentConfig]], out: Path, emit: Emit
) -> list[SweepRun]:
    """The runs of a grid on this machine; points that mean the same run are one.

    Raises:
        UserError: one of them cannot be run; none is started.
    """
    runs: dict[str, SweepRun] = {}
    for point, config in configs:
        with at_point(point):
            run = prepare_run(config, only((Decoding, Waiting), emit) if runs else emit)
            RunDir(out / run.name).check_format()
        runs.setdefault(run.name, SweepRun(point, run))
    return list(runs.values())


def run_sweep(runs: Sequence[SweepRun], options: RunOptions, emit: Emit) -> list[tuple[SweepRun, AnySummary | str]]:
    """Train the levels of all unfinished runs, then finish the runs, one after the other.

    Returns:
        Each run with its summary, or with why there is none. A run that fails does not stop the others.
    """
    unfinished = [sweep.run for sweep in runs if not sweep.is_finished(options.out)]
    check_disk_space(unfinished, options.out, options.fresh)
    tasks = complete_graph(
        replace(task, about=sweep.name) for sweep in runs if sweep.run in unfinished for task in sweep.run.tasks
    )
    first = runs[0].run
    experiments = dict.fromkeys(sweep.run.config.experiment for sweep in runs)
    emit(
        SweepStarted(
            " and ".join(experiments),
            len(runs),
            len(tasks),
            str(first.context.device),
            first.context.conditions.precision,
        )
    )
    worker = LevelWorker(options, without(LevelEvent, emit))
    failures = train_graph(tasks, worker, without(LevelEvent, emit))
    results: list[tuple[SweepRun, AnySummary | str]] = []
    shown = only((Waiting, Damaged, Evaluating, Evaluated), emit)
    for sweep in runs:
        emit(Busy(f"finishing {sweep.name}"))
        reasons = [failures[task.key] for task in sweep.run.tasks if task.key in failures]
        try:
            results.append((sweep, reasons[0] if reasons else execute(sweep.run, options, shown).summary))
        except Exception as error:  # the other runs can still be finished, and the failure is reported
            results.append((sweep, describe_error(error)))
    return results
