"""lthrun: does this sparse network really train as well as the dense one?

    ticket = lthrun.load_ticket("runs/ticket-s0-1a2b3c4d/ticket.safetensors")
    ticket.apply(model)
    result = lthrun.run("ticket", **{"training.epochs": 10})

Importing lthrun does not import torch; calling it does.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lthrun.errors import UserError
from lthrun.version import __version__

if TYPE_CHECKING:
    from lthrun.config.base import ExperimentConfig
    from lthrun.events import Emit
    from lthrun.experiments import Result
    from lthrun.sparsity.tickets import Ticket

__all__ = ["UserError", "__version__", "load_config", "load_ticket", "resume", "run"]


def load_ticket(path: str | Path) -> Ticket:
    """The ticket in a `ticket.safetensors` file.

    Raises:
        UserError: there is no such file, or it is not a ticket of this format.
    """
    from lthrun.sparsity.tickets import Ticket
    from lthrun.storage.tensor_files import read_tensors

    tensors, metadata = read_tensors(Path(path).expanduser())
    return Ticket.from_tensors(tensors, metadata, str(path))


def load_config(source: str | Path | None = None, experiment: str | None = None, **settings: Any) -> ExperimentConfig:
    """The config in a YAML file (or the shipped one of that name), or the defaults of `experiment`.

    `settings` override it by key path: `load_config("smoke/ticket", **{"training.epochs": 2})`.

    Raises:
        UserError: a key is unknown, or a value has the wrong type or is out of range.
    """
    from lthrun.experiments import load_config

    return load_config(source, experiment, options=settings)


def run(
    config: ExperimentConfig | str | Path,
    out: str | Path = "runs",
    *,
    fresh: bool = False,
    checkpoint_every: str = "30s",
    executor: str = "local",
    jobs: int | None = None,
    emit: Emit | None = None,
    **settings: Any,
) -> Result:
    """Run an experiment as its command does, or resume an earlier run with the same settings.

    Shows what the command shows, unless `emit` is given: it is called with every lthrun.events.Event.

    Args:
        config: a config, or what `load_config` takes, with its `settings`.
        out: root of run directories and cached levels.
        fresh: retrain the levels of this run.
        checkpoint_every: what lies between two checkpoints: 30s (at the end of an epoch), 1ep or 200it.
        executor, jobs: what trains the levels of a study (`lthrun list executors`), and how many at once.

    Raises:
        UserError: data, device or settings do not allow it; the message says what would.
    """
    from lthrun.executors.tasks import RunOptions
    from lthrun.experiments import run_experiment

    loaded = load_config(config, **settings) if isinstance(config, str | Path) else config
    options = RunOptions(Path(out).expanduser(), fresh, checkpoint_every, executor, jobs)
    return _shown(lambda emit: run_experiment(loaded, options, emit), emit)


def resume(
    run_dir: str | Path,
    *,
    checkpoint_every: str = "30s",
    executor: str = "local",
    jobs: int | None = None,
    emit: Emit | None = None,
    **settings: Any,
) -> Result:
    """Resume the run in a directory, as it was started.

    Args:
        settings: what is different on this machine, by key path: `data.dir`, or `device` (of the same type).

    Raises:
        UserError: that is no run directory, or its settings mean another run; the message says what can be done.
    """
    from lthrun.executors.tasks import RunOptions
    from lthrun.experiments import read_config, resume_run

    path = Path(run_dir).expanduser()
    saved, config = read_config(path), read_config(path, settings)
    options = RunOptions(path.parent, False, checkpoint_every, executor, jobs)
    return _shown(lambda emit: resume_run(path, saved, config, options, emit), emit)


def _shown(action: Any, emit: Emit | None) -> Result:
    """Run it, with a screen where there is no `emit`; a study ends in its page."""
    from lthrun.training.openmp import limit_spinning

    limit_spinning()
    from lthrun.report.publish import publish_study
    from lthrun.report.screen import Screen

    if emit is not None:
        result: Result = action(emit)
        publish_study(result.run_dir)
        return result
    with Screen() as screen:
        result = action(screen)
        publish_study(result.run_dir)
        screen.show_result(result.summary)
    return result
