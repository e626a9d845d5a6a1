"""How a command is stopped: Ctrl-C and SIGTERM. It imports next to nothing: both may come while lthrun is imported."""

from __future__ import annotations

import sys
from types import FrameType
from typing import NoReturn


class Terminated(BaseException):
    """SIGTERM: ends a run as Ctrl-C does, except for the exit status."""


INTERRUPTS = (KeyboardInterrupt, Terminated)


def terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def exit_interrupted(interrupt: BaseException) -> NoReturn:
    """End the command; what it has saved is said already."""
    sys.exit(143 if isinstance(interrupt, Terminated) else 130)


def exit_early(interrupt: BaseException) -> NoReturn:
    """End a command that has nothing to save yet."""
    print("lthrun: stopped", file=sys.stderr)
    exit_interrupted(interrupt)
