"""The command line: one file per group of commands. Torch is imported inside commands only."""

from lthrun.cli.interrupts import exit_early

__all__ = ["main"]


def main() -> None:
    """The `lthrun` command (lthrun.cli.app), whose import takes a while: Ctrl-C ends that as well."""
    try:
        from lthrun.cli import app

        app.main()
    except KeyboardInterrupt as interrupt:
        exit_early(interrupt)
