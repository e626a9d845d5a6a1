"""Experiments: what is trained, in which order, and what is written down. `run` is the door."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lthrun.config import Config
from lthrun.config.loading import load_config
from lthrun.errors import UserError
from lthrun.experiments.context import RunContext, prepare
from lthrun.experiments.tasks import RunOptions
from lthrun.storage.run_dir import RunDir


@dataclass(frozen=True)
class Result:
    """What a run found: the summary, one record per epoch, and where everything lies."""

    summary: dict[str, Any]
    metrics: list[dict[str, Any]]
    run_dir: Path


def run(
    config: Config,
    out: str | Path = "runs",
    fresh: bool = False,
    emit: Callable[..., None] = lambda *_, **__: None,
    checkpoint_every: int | None = None,
    engine: str = "local",
    jobs: int | None = None,
) -> Result:
    """Run an experiment, going on where an earlier run with these settings stopped.

    Args:
        config: what to run, e.g. from `lthrun.load_config`.
        out: root of run directories and of the levels they share.
        fresh: train this run's levels anew.
        emit: called as `emit(kind, **facts)` with everything that happens.
        checkpoint_every: steps between checkpoints within an epoch; there is one after every epoch in any case.
        engine, jobs: who trains the levels of a study (lthrun.executors), and how many at once.

    Raises:
        UserError: data, device or settings do not allow it; the message says what would.
    """
    context = prepare(config, emit)
    return carry_on(context, emit, RunOptions(Path(out), fresh, checkpoint_every), engine, jobs)


def resume(
    run_path: Path,
    emit: Callable[..., None],
    checkpoint_every: int | None = None,
    engine: str = "local",
    jobs: int | None = None,
) -> Result:
    """Go on with a run as it was started, from the config that lies in its directory.

    Raises:
        UserError: that is no run directory, or its settings mean another run by now.
    """
    context = prepare(config_of(run_path), emit)
    place = run_path.resolve()
    if context.run_name != place.name:
        raise UserError(
            f"{run_path}: its config now means the run {context.run_name}, because the images have changed or the "
            f"directory was renamed: rename it back, or start anew with --config {run_path}/config.yaml"
        )
    return carry_on(context, emit, RunOptions(place.parent, False, checkpoint_every), engine, jobs)


def config_of(run_path: Path) -> Config:
    """The config that a run was started with."""
    RunDir(run_path).check_format()
    if not (run_path / "config.yaml").is_file():
        raise UserError(f"{run_path}: not a run directory, there is no config.yaml in it; `lthrun runs` lists them")
    return load_config(run_path / "config.yaml")


def carry_on(
    context: RunContext, emit: Callable[..., None], options: RunOptions, engine: str, jobs: int | None
) -> Result:
    run_dir = RunDir(options.out / context.run_name)
    run_dir.check_format()
    with run_dir.lock(lambda: emit("waiting", run=str(run_dir.path))):
        finished = None if options.fresh else run_dir.finished()
        if finished is not None:
            emit("finished_before", run=str(run_dir.path))
            return Result(*finished, run_dir.path)
        from lthrun.training.backend_flags import backend_flags

        with backend_flags(context.device, context.config.deterministic):
            if context.config.experiment == "compare":
                from lthrun.experiments.study import conduct

                summary, metrics = conduct(context, run_dir, options, emit, engine, jobs)
            else:
                from lthrun.experiments.driver import carry_out

                summary, metrics = carry_out(context, run_dir, options, emit)
        return Result(summary, metrics, run_dir.path)
