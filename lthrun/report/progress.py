"""One progress bar, on a terminal only."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from lthrun.errors import escape_unprintable


class ProgressBar:
    """A bar with a description before it and a note behind it; without a terminal it shows nothing."""

    def __init__(self, console: Console, is_shown: bool):
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[note]}", style="dim", markup=False),
            console=console,
            transient=True,
            disable=not is_shown or not console.is_terminal,
        )
        self._task: TaskID | None = None
        self._started = 0.0

    def start(self) -> None:
        self._progress.start()

    def stop(self) -> None:
        self._progress.stop()

    def show(self, description: str, done: int = 0, total: int | None = None, note: str = "") -> None:
        if self._task is None:
            self._task = self._progress.add_task("", note="")
        text = escape_unprintable(description)
        self._progress.update(self._task, description=text, completed=done, total=total, note=escape_unprintable(note))

    def clear(self) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None

    def start_clock(self) -> None:
        self._started = time.monotonic()

    def rate(self, done: int) -> float:
        """Per second since the clock was started."""
        return done / max(time.monotonic() - self._started, 1e-6)
