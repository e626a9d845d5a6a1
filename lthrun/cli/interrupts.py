"""How a command is stopped: Ctrl-C and SIGTERM."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lthrun.report.screen import Screen


@contextmanager
def interruptible(screen: Screen, fresh: bool = False) -> Iterator[None]:
    """Say what was kept when the run is interrupted."""
    try:
        yield
    except (KeyboardInterrupt, Terminated):
        screen.interrupted(fresh)
        raise


class Terminated(BaseException):
    """SIGTERM: ends a run as Ctrl-C does, but for the exit status. (Of a KeyboardInterrupt Typer makes status 130.)"""


def terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated
