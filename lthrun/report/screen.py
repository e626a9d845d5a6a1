"""Events, shown as they happen: a row per epoch or level, one line about others, progress on a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import singledispatchmethod
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from lthrun import events
from lthrun.errors import escape_unprintable
from lthrun.events import Event
from lthrun.experiments.reading import AnySummary
from lthrun.report.epoch_table import EPOCH_COLUMNS, LEVEL_COLUMNS, EpochRow, LevelRow, live_line
from lthrun.report.lists import chance_table, dry_run_table
from lthrun.report.messages import message
from lthrun.report.study_report import build_report
from lthrun.report.tables import Report
from lthrun.report.terminal import make_console, one_line, show_report, show_tables, to_text
from lthrun.report.wording import clock

if TYPE_CHECKING:
    from lthrun.experiments.dry_run import DryRun

REFRESH = 0.1  # seconds: rich draws ten times a second, and a step of a small network takes less than a millisecond


class Screen:
    """An `Emit` that shows events: with live progress on a terminal, as plain lines without one.

    `quiet` shows none of them, only the answer and what an interrupt leaves.
    """

    def __init__(self, console: Console | None = None, quiet: bool = False):
        self.console = console or make_console()
        self.quiet = quiet
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[note]}", style="dim", markup=False),
            console=self.console,
            transient=True,
            disable=quiet or not self.console.is_terminal,
        )
        self._task: TaskID | None = None
        self._started, self._drawn = 0.0, 0.0
        self._epochs, self._all_epochs = 0, 0
        self._levels, self._all_levels = 0, 0
        self._networks = 0
        self._last_epoch: events.EpochFinished | None = None
        self._fallbacks: list[Event] = []  # each is shown once

    def __enter__(self) -> Screen:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        if event not in self._fallbacks:
            self._say(*message(event))
        self._show(event)

    @singledispatchmethod
    def _show(self, event: Event) -> None:
        """What follows the message about an event: of most events nothing."""

    @_show.register
    def _(self, event: events.RunStarted) -> None:
        self._all_epochs = event.epochs
        self._say(live_line(EPOCH_COLUMNS), "bold")

    @_show.register
    def _(self, event: events.StudyStarted | events.SweepStarted) -> None:
        self._levels, self._all_levels = 0, event.levels
        if event.levels:
            self._say(live_line(LEVEL_COLUMNS), "bold")

    @_show.register
    def _(self, event: events.EpochFinished) -> None:
        self._say(live_line(EPOCH_COLUMNS, EpochRow(self._epochs, event.level, event.record)))
        self._epochs += 1
        self._last_epoch = event

    @_show.register
    def _(self, event: events.LevelFinished) -> None:
        self._levels += 1
        self._say(live_line(LEVEL_COLUMNS, LevelRow(self._levels, self._all_levels, event)))

    @_show.register
    def _(self, event: events.LevelFailed) -> None:
        self._levels += 1

    @_show.register
    def _(self, event: events.CudaGraphFallback) -> None:
        self._fallbacks.append(event)

    @_show.register
    def _(self, event: events.Busy) -> None:
        self._progress_to(event.doing)

    @_show.register
    def _(self, event: events.Decoding) -> None:
        if event.done == 1:
            self._started = time.monotonic()
            self._say(f"decoding {event.total:,} images once, for this and all later runs", "dim")
        rate, left = self._rate(event.done), event.total - event.done
        note = f"{event.done:,} of {event.total:,}, {rate:,.0f} images/s, {clock(left / rate)} left"
        self._progress_to("decoding", event.done, event.total, note)
        if not left:
            self.clear()

    @_show.register
    def _(self, event: events.Step) -> None:
        now = time.monotonic()
        if event.done == 1:
            self._started = now
        if event.done == 1 or self._progress.disable or now - self._drawn < REFRESH:
            return
        self._drawn = now
        if self._all_levels:
            level = f"level {self._levels + 1} of {self._all_levels}, epoch {event.level_epoch}"
            self._progress_to(level, event.done, event.total)
        else:
            rate, left = self._rate(event.done - 1), event.total - event.done
            of_run = left + event.total * (self._all_epochs - self._epochs - 1)
            note = f"{rate * event.images:,.0f} images/s, {clock(left / rate)} left, {clock(of_run / rate)} for the run"
            self._progress_to(f"level {event.level}, epoch {event.level_epoch}", event.done, event.total, note)

    @_show.register
    def _(self, event: events.Evaluating) -> None:
        self._networks = event.networks

    @_show.register
    def _(self, event: events.Evaluated) -> None:
        self._progress_to("evaluating", event.done, self._networks, f"{event.done} of {self._networks}: {event.name}")

    def _say(self, text: str, style: str = "") -> None:
        if text and not self.quiet:
            self.say(text, style)

    def say(self, text: str, style: str = "") -> None:
        self.clear()
        self.console.print(to_text(text, style=style), soft_wrap=True)

    def _progress_to(self, description: str, done: int = 0, total: int | None = None, note: str = "") -> None:
        if self._task is None:
            self._task = self._progress.add_task("", note="")
        text, note = escape_unprintable(description), escape_unprintable(note)
        self._progress.update(self._task, description=text, completed=done, total=total, note=note)

    def _rate(self, done: int) -> float:
        """Per second since the last first step."""
        return done / max(time.monotonic() - self._started, 1e-6)

    def clear(self) -> None:
        """Remove the progress bar, before something else is printed."""
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the terminal to a question or to another progress bar."""
        self._progress.stop()
        yield
        self._progress.start()

    def show_dry_run(self, dry_run: DryRun) -> None:
        self.clear()
        if not self.quiet:
            show_tables(self.console, [dry_run_table(dry_run), *([chance_table(dry_run)] if dry_run.chances else [])])
        if dry_run.no_verdict:
            self.say(*message(events.NoVerdict(dry_run.no_verdict)))
        state = "already finished" if dry_run.is_finished else "would be written"
        self.say(f"{state} in {dry_run.run_dir}; nothing was trained")

    def show_interrupted(self, is_fresh: bool = False) -> None:
        """What an interrupted run keeps."""
        then = "what --fresh had not finished starts over" if is_fresh else "the same command resumes from there"
        if self._all_levels:
            kept = f"{self._levels} of {self._all_levels} levels, and the checkpoints of the others; {then}"
        elif self._last_epoch:
            epoch, level = self._last_epoch.record.level_epoch, self._last_epoch.level
            kept = f"everything up to epoch {epoch} of level {level}; {then}"
        else:
            kept = "nothing, as no epoch was finished"
        self.say(f"interrupted; saved: {kept}", "yellow")

    def show_result(self, summary: AnySummary) -> None:
        """The report of a finished run or study."""
        self.show_report(build_report(summary), summary.experiment, summary.run_dir)

    def show_report(self, report: Report, name: str, run_dir: str) -> None:
        """A report; in quiet mode its answer on one line."""
        if self.quiet:
            self.say(one_line(name, report, run_dir))
        else:
            self.clear()
            show_report(self.console, report, run_dir)
