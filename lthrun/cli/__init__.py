"""The command line: one file per group of commands. Torch is imported inside commands only."""

import gc
import os
import sys

from lthrun.cli.interrupts import exit_early

__all__ = ["main"]


def main() -> None:
    """The `lthrun` command (lthrun.cli.app), whose import takes a while: Ctrl-C ends that as well."""
    try:
        try:
            gc.disable()  # importing makes little garbage; looking for it takes a sixth of `lthrun --help`
            from lthrun.cli import app

            gc.freeze()
            gc.enable()
            app.main()
        except KeyboardInterrupt as interrupt:
            exit_early(interrupt)
    except SystemExit as end:
        if end.code != 130:
            raise
    # Python ends itself by the signal, though it was handled, if it came within an `exec` of text, as dataclasses have.
    for stream in (sys.stdout, sys.stderr):
        if stream:  # it may be closed
            stream.flush()
    os._exit(130)
