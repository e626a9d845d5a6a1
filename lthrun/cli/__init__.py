"""The command line: one file per group of commands. Torch is imported inside commands only."""

from lthrun.cli.app import main

__all__ = ["main"]
