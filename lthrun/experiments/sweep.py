"""Sweep: one experiment at every point of a grid, the levels of all runs trained as one graph."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lthrun.config import Config
from lthrun.errors import MissingData, UserError
from lthrun.executors import EXECUTORS
from lthrun.executors.task_queue import reason
from lthrun.experiments import carry_on
from lthrun.experiments.context import Emit, RunContext, prepare
from lthrun.experiments.disk_space import bytes_to_come, check_free, run_bytes
from lthrun.experiments.tasks import RunOptions, Task, graph
from lthrun.levels.builder import LevelBuilder
from lthrun.storage.files import make_dir
from lthrun.storage.level_store import LevelStore
from lthrun.storage.run_dir import RunDir
from lthrun.training.backend_flags import backend_flags

# Of what happens within a level, and while a run takes over its levels, the rest would be a run's story.
WITHIN_A_LEVEL = {"step", "waiting", "busy", "damaged", "uncaptured"}
WITHIN_A_RUN = {"waiting", "damaged", "judging", "judged"}


@dataclass(frozen=True)
class Run:
    """A run of a sweep, at a place of the grid: values by config key."""

    place: Mapping[str, Any]
    context: RunContext

    @property
    def name(self) -> str:
        return in_words(self.place)

    @property
    def tasks(self) -> list[Task]:
        """The graph of its levels."""
        context = self.context
        return graph(Task(context.resolved, level, self.name, context.conditions) for level in context.levels)

    def finished(self, out: Path) -> bool:
        return RunDir(out / self.context.run_name).finished() is not None


def in_words(place: Mapping[str, Any]) -> str:
    """`sparsity=50, criterion=snip`."""
    return ", ".join(
        f"{key.rpartition('.')[2]}={value if isinstance(value, str) else json.dumps(value)}"
        for key, value in place.items()
    )


@contextmanager
def at(place: Mapping[str, Any]) -> Iterator[None]:
    """Say of an error for which place of the grid it is."""
    try:
        yield
    except MissingData:
        raise
    except UserError as error:
        raise UserError(f"--grid, at {in_words(place)}: {error}") from None


def runs_of(configs: Sequence[tuple[Mapping[str, Any], Config]], out: Path, emit: Emit) -> list[Run]:
    """Places of the grid and their configs as runs on this machine; those that mean the same run are one.

    Raises:
        UserError: one of them cannot be run; none is begun.
    """
    found: dict[str, Run] = {}
    for place, config in configs:
        with at(place):
            context = prepare(config, emit if not found else only({"decoding", "waiting"}, emit))
            RunDir(out / context.run_name).check_format()
        found.setdefault(context.run_name, Run(place, context))
    return list(found.values())


def sweep(
    runs: Sequence[Run], options: RunOptions, emit: Emit, engine: str, jobs: int | None
) -> list[tuple[Run, dict[str, Any] | str]]:
    """Have an engine train the levels of all runs that are not finished, and carry these out, one after the other.

    Returns:
        Each run with its summary, or with why there is none. The others go on where one fails.
    """
    open_runs = [run for run in runs if not run.finished(options.out)]
    todo = graph(task for run in open_runs for task in run.tasks)
    check_room(open_runs, options.out, emit)
    first = runs[0].context
    emit(
        "sweep",
        runs=len(runs),
        experiment=first.config.experiment,
        tasks=len(todo),
        device=str(first.device),
        precision=first.conditions.precision,
    )

    def tell(kind: str, task: Task, found: Mapping[str, Any] = {}, **facts: Any) -> None:
        emit(kind, key=task.key, about=task.about, level=task.level.index, **found, **facts)

    failures = EXECUTORS[engine](todo, options, jobs, tell, only(WITHIN_A_LEVEL, emit))
    found: list[tuple[Run, dict[str, Any] | str]] = []
    for run in runs:
        emit("busy", doing=f"finishing {run.name}")
        failed = [failures[task.key] for task in run.tasks if task.key in failures]
        if failed:
            found.append((run, failed[0]))
            continue
        try:
            found.append((run, carry_on(run.context, only(WITHIN_A_RUN, emit), options, engine, jobs).summary))
        except Exception as error:  # the other runs can still be finished, and this is said
            found.append((run, reason(error)))
    return found


def only(kinds: set[str], emit: Emit) -> Emit:
    """`emit`, told of those kinds alone."""

    def told(kind: str, **facts: Any) -> None:
        if kind in kinds:
            emit(kind, **facts)

    return told


def check_room(runs: Sequence[Run], out: Path, emit: Emit) -> None:
    """Refuse a sweep that would fill the disk."""
    make_dir(out)
    levels, seen, needed = LevelStore(out), set[str](), 0
    for run in runs:
        with backend_flags(run.context.device, run.context.config.deterministic):
            builder = LevelBuilder(run.context, levels, emit)
        own = [task.level for task in run.tasks if task.key not in seen]
        seen |= {level.key for level in own}
        needed += run_bytes(run.context.levels, builder) + bytes_to_come(own, builder)
    check_free(out, needed)
