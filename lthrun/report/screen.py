"""Events, shown as they happen: a row per epoch or level, one line about others, progress on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import singledispatchmethod
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console

from lthrun import events
from lthrun.events import Event
from lthrun.report.epoch_table import EPOCH_COLUMNS, LEVEL_COLUMNS, EpochRow, LevelRow, heading_line, row_line
from lthrun.report.lists import dry_run_table
from lthrun.report.messages import message
from lthrun.report.progress import ProgressBar
from lthrun.report.records import AnySummary
from lthrun.report.study_report import build_report
from lthrun.report.terminal import make_console, one_line, show_report, show_tables, to_text
from lthrun.report.wording import clock

if TYPE_CHECKING:
    from lthrun.experiments.dry_run import DryRun


class Screen:
    """An `Emit` that shows events: with live progress on a terminal, as plain lines without one.

    `quiet` leaves only the answer.
    """

    def __init__(self, console: Console | None = None, quiet: bool = False):
        self.console = console or make_console()
        self.quiet = quiet
        self._bar = ProgressBar(self.console, not quiet)
        self._epochs, self._all_epochs = 0, 0
        self._levels, self._all_levels = 0, 0
        self._networks = 0
        self._last_epoch: events.EpochFinished | None = None
        self._fallbacks: set[events.CudaGraphFallback] = set()

    def __enter__(self) -> Screen:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, event: Event) -> None:
        self._count(event)
        if not self.quiet:
            self._show(event)

    def _count(self, event: Event) -> None:
        if isinstance(event, events.RunStarted):
            self._all_epochs = event.epochs
        elif isinstance(event, events.StudyStarted | events.SweepStarted):
            self._all_levels = event.levels
        elif isinstance(event, events.LevelFinished | events.LevelFailed):
            self._levels += 1
        elif isinstance(event, events.EpochFinished):
            self._epochs += 1
            self._last_epoch = event

    def say(self, text: str, style: str = "") -> None:
        self.console.print(to_text(text, style=style), soft_wrap=True)

    def _say_message(self, event: Event) -> None:
        found = message(event)
        if found:
            self._bar.clear()
            self.say(*found)

    @singledispatchmethod
    def _show(self, event: Event) -> None:
        """Of most events, their message is all there is to show."""
        self._say_message(event)

    @_show.register
    def _(self, event: events.RunStarted) -> None:
        self._say_message(event)
        self.say(heading_line(EPOCH_COLUMNS), "bold")

    @_show.register(events.StudyStarted)
    @_show.register(events.SweepStarted)
    def _(self, event: Event) -> None:
        self._say_message(event)
        if self._all_levels:
            self.say(heading_line(LEVEL_COLUMNS), "bold")

    @_show.register
    def _(self, event: events.EpochFinished) -> None:
        self._bar.clear()
        self.say(row_line(EPOCH_COLUMNS, EpochRow(self._epochs - 1, event.level, event.record)))

    @_show.register
    def _(self, event: events.LevelFinished) -> None:
        self._bar.clear()
        self.say(row_line(LEVEL_COLUMNS, LevelRow(self._levels, self._all_levels, event)))

    @_show.register
    def _(self, event: events.CudaGraphFallback) -> None:
        if event not in self._fallbacks:
            self._fallbacks.add(event)
            self._say_message(event)

    @_show.register
    def _(self, event: events.Busy) -> None:
        self._bar.show(event.doing)

    @_show.register
    def _(self, event: events.Decoding) -> None:
        if event.done == 1:
            self._bar.clear()
            self._bar.start_clock()
            self.say(f"decoding {event.total:,} images once, for this and all later runs", "dim")
        rate = self._bar.rate(event.done)
        note = (
            f"{event.done:,} of {event.total:,}, {rate:,.0f} images/s, {clock((event.total - event.done) / rate)} left"
        )
        self._bar.show("decoding", event.done, event.total, note)
        if event.done == event.total:
            self._bar.clear()

    @_show.register
    def _(self, event: events.Step) -> None:
        if event.done == 1:
            self._bar.start_clock()
        elif self._all_levels:
            level = f"level {self._levels + 1} of {self._all_levels}, epoch {event.level_epoch}"
            self._bar.show(level, event.done, event.total)
        else:
            rate, left = self._bar.rate(event.done - 1), event.total - event.done
            of_run = left + event.total * (self._all_epochs - self._epochs - 1)
            note = f"{rate * event.images:,.0f} images/s, {clock(left / rate)} left, {clock(of_run / rate)} for the run"
            self._bar.show(f"level {event.level}, epoch {event.level_epoch}", event.done, event.total, note)

    @_show.register
    def _(self, event: events.Evaluating) -> None:
        self._networks = event.networks
        self._say_message(event)

    @_show.register
    def _(self, event: events.Evaluated) -> None:
        note = f"{event.done} of {self._networks}: {event.name}"
        self._bar.show("evaluating", event.done, self._networks, note)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the terminal to a question or to another progress bar."""
        self._bar.stop()
        yield
        self._bar.start()

    def clear(self) -> None:
        """Remove the progress bar, before something else is printed."""
        self._bar.clear()

    def show_dry_run(self, dry_run: DryRun) -> None:
        self.clear()
        show_tables(self.console, [dry_run_table(dry_run)])
        state = "already finished" if dry_run.is_finished else "would be written"
        self.say(f"{state} in {dry_run.run_dir}; nothing was trained")

    def show_interrupted(self, is_fresh: bool = False) -> None:
        """What an interrupted run keeps."""
        self.clear()
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
        """The report of a finished run or study; in quiet mode its answer on one line."""
        self.clear()
        report = build_report(summary)
        if self.quiet:
            self.say(one_line(summary.experiment, report, summary.run_dir))
        else:
            show_report(self.console, report, summary.run_dir)
