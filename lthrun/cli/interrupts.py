"""How a command is stopped: Ctrl-C and SIGTERM."""

from __future__ import annotations

from types import FrameType


class Terminated(BaseException):
    """SIGTERM: ends a run as Ctrl-C does, except for the exit status. (Typer turns a KeyboardInterrupt into 130.)"""


INTERRUPTS = (KeyboardInterrupt, Terminated)


def terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated
