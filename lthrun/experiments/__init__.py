"""Experiments: what is trained, in which order, and what is written down. `run` is the door."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lthrun.config import Config
from lthrun.experiments.setting import bring
from lthrun.levelstore import LevelStore
from lthrun.rundir import RunDir


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
) -> Result:
    """Run an experiment, going on where an earlier run with these settings stopped.

    Args:
        config: what to run, e.g. from `lthrun.load_config`.
        out: root of run directories and of the levels they share.
        fresh: train this run's levels anew.
        emit: called as `emit(kind, **facts)` with everything that happens.

    Raises:
        UserError: data, device or settings do not allow it; the message says what would.
    """
    setting = bring(config, emit)
    run_dir = RunDir(Path(out) / setting.run_name)
    with run_dir.lock(lambda: emit("waiting", run=str(run_dir.path))):
        finished = None if fresh else run_dir.finished()
        if finished is not None:
            emit("finished_before", run=str(run_dir.path))
            return Result(*finished, run_dir.path)
        from lthrun.experiments.execution import carry_out

        summary, metrics = carry_out(setting, run_dir, LevelStore(Path(out)), fresh, emit)
        return Result(summary, metrics, run_dir.path)
