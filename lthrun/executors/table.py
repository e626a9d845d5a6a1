"""The table of executors."""

from __future__ import annotations

from lthrun.registry import Entry, Table

EXECUTORS = Table("executors", "--executor", Entry)
"""An executor is called with tasks (none before what it needs), a worker of this process, and `emit`. It runs all tasks
but those that fail and those that need one that failed, and returns why each task failed, by key. Results are in the
cached levels; nothing else is returned."""
