"""lthrun: does this sparse network really train as well as the dense one?

    ticket = lthrun.load_ticket("runs/ticket-s0-1a2b3c4d/ticket.safetensors")
    ticket.apply(model)
    result = lthrun.run(lthrun.load_config("configs/ticket.yaml"))

Importing lthrun does not import torch; calling it does.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lthrun.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lthrun.config import Config
    from lthrun.experiments import Result
    from lthrun.sparsity.tickets import Ticket

__version__ = "0.1.0"
__all__ = ["UserError", "__version__", "load_config", "load_ticket", "run"]


def load_ticket(path: str | Path) -> Ticket:
    """The ticket in a `ticket.safetensors` file.

    Raises:
        UserError: there is no such file, or it is not a ticket this version reads.
    """
    from lthrun.sparsity.tickets import Ticket
    from lthrun.storage.files import read_tensors

    tensors, metadata = read_tensors(Path(path))
    return Ticket.from_tensors(tensors, metadata, str(path))


def load_config(source: str | Path | None = None, experiment: str | None = None, **settings: Any) -> Config:
    """The config in a YAML file (or the shipped one of that name), or the defaults of `experiment`.

    `settings` overrule it by key path: `load_config("smoke/ticket", **{"training.epochs": 2})`.

    Raises:
        UserError: a key is unknown or a value is not what it should be.
    """
    from lthrun.config.loading import load_config

    return load_config(source, experiment, options=settings)


def run(
    config: Config,
    out: str | Path = "runs",
    fresh: bool = False,
    emit: Callable[..., None] | None = None,
    engine: str = "local",
    jobs: int | None = None,
) -> Result:
    """Run an experiment as the command does, and return its summary, its records and its directory.

    Shows the command's tables, unless `emit` is given: it is called as `emit(kind, **facts)` with everything
    that happens. `engine` and `jobs` say who trains the levels of a study, and how many at once.

    Raises:
        UserError: data, device or settings do not allow it; the message says what would.
    """
    from lthrun.training.openmp import limit_spinning

    limit_spinning()
    from lthrun.experiments import run
    from lthrun.report.screen import Screen

    if emit is not None:
        return run(config, out, fresh, emit, engine=engine, jobs=jobs)
    with Screen() as screen:
        result = run(config, out, fresh, screen, engine=engine, jobs=jobs)
        screen.close(result.summary)
    return result
