"""What happens, shown as it happens: a row per epoch, events in words, progress on a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from lthrun.report import connectivity_tables as connectivity
from lthrun.report.study_tables import study_line, study_summary
from lthrun.report.sweep_table import shares_table
from lthrun.report.tables import clock, closing, forecast_table, one_line, plural, point

COLUMNS = (
    ("epoch", 5), ("level", 5), ("in level", 8), ("sparsity %", 10), ("train loss", 10), ("valid loss", 10),
    ("accuracy %", 10), ("balanced %", 10), ("seconds", 7),
)  # fmt: skip
TASK_COLUMNS = (
    ("done", "<10"), ("what", "<28"), ("level", ">5"), ("sparse %", ">8"), ("right %", ">7"), ("seconds", ">10"),
)  # fmt: skip


def make_console(stderr: bool = False) -> Console:
    """A console as wide as the terminal; without one, wide enough for every table."""
    console = Console(stderr=stderr, highlight=False)
    return console if console.is_terminal else Console(stderr=stderr, highlight=False, width=120)


class Screen:
    """Listens to a run's events and shows them; as live progress on a terminal, as plain lines elsewhere."""

    def __init__(self, console: Console | None = None, quiet: bool = False):
        self.console = console or make_console()
        self.quiet = quiet
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[note]}", style="dim"),
            console=self.console,
            transient=True,
            disable=quiet or not self.console.is_terminal,
        )
        self._task: TaskID | None = None
        self._epochs_left = 0
        self._started = 0.0
        self._kept: tuple[int, int] | None = None
        self._to_judge = 0
        self._said: set[str] = set()
        self._tasks = (0, 0)

    def __enter__(self) -> Screen:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, kind: str, **facts: Any) -> None:
        if kind == "epoch":
            self._kept = (facts["level"], facts["level_epoch"])
        show = getattr(self, f"on_{kind}", None)
        if show and not self.quiet:
            show(**facts)

    def say(self, text: str, style: str = "") -> None:
        self.console.print(Text(text, style), soft_wrap=True)

    def bar(self, description: str, done: int, of: int | None, note: str) -> None:
        if self._task is None:
            self._task = self._progress.add_task("", note="")
        self._progress.update(self._task, description=description, completed=done, total=of, note=note)

    def unbar(self) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None

    def on_busy(self, doing: str) -> None:
        self.bar(doing, 0, None, "")

    def on_images(self, count: int, folder: str) -> None:
        self.unbar()
        self.say(f"{count:,} images in {folder}", "dim")

    def on_decoding(self, done: int, of: int) -> None:
        if done == 1:
            self.unbar()
            self._started = time.monotonic()
            self.say(f"decoding {of:,} images once, for this and every later run", "dim")
        rate = done / max(time.monotonic() - self._started, 1e-6)
        self.bar(
            "decoding",
            done,
            of,
            f"{done:,} of {of:,}, {rate:,.0f} images/s, {clock((of - done) / rate)} left",
        )
        if done == of:
            self.unbar()

    def on_started(
        self,
        experiment: str,
        levels: int,
        device: str,
        precision: str,
        n_train: int,
        n_valid: int,
        epochs: int,
    ) -> None:
        self.unbar()
        chain = f"{levels} levels, " if levels > 1 else ""
        self.say(
            f"{experiment}: {chain}{epochs} epochs on {device} in {precision}; "
            f"{n_train:,} images to train on, {n_valid:,} to validate"
        )
        self._epochs_left = epochs
        self.say("  ".join(f"{name:>{width}}" for name, width in COLUMNS), "bold")

    def on_study(
        self, tasks: int, arms: int, seeds: int, device: str, precision: str, n_train: int, n_valid: int
    ) -> None:
        self.unbar()
        self.say(
            f"compare: {plural(arms, 'arm')}, {plural(seeds, 'seed')}, {plural(tasks, 'level')} on {device} in "
            f"{precision}; {n_train:,} images to train on, {n_valid:,} to validate"
        )
        self.list_tasks(tasks)

    def on_sweep(self, runs: int, experiment: str, tasks: int, device: str, precision: str) -> None:
        self.unbar()
        self.say(f"sweep: {plural(runs, 'run')} of {experiment}, {plural(tasks, 'level')} on {device} in {precision}")
        if tasks:
            self.list_tasks(tasks)

    def list_tasks(self, tasks: int) -> None:
        """The head of the table that `on_task` goes on with."""
        self._tasks = (0, tasks)
        self.say("  ".join(f"{name:{width}}" for name, width in TASK_COLUMNS), "bold")

    def on_task(self, about: str, level: int, reused: bool, seconds: float, accuracy: float, sparsity: float,
                key: str) -> None:  # fmt: skip
        self.unbar()
        self._tasks = (self._tasks[0] + 1, self._tasks[1])
        cells = (f"{self._tasks[0]} of {self._tasks[1]}", about, str(level), f"{sparsity:.2f}", f"{100 * accuracy:.2f}",
                 "taken over" if reused else f"{seconds:.1f}")  # fmt: skip
        self.say("  ".join(f"{cell:{width}}" for cell, (_, width) in zip(cells, TASK_COLUMNS, strict=True)).rstrip())

    def on_task_failed(self, about: str, level: int, why: str, key: str) -> None:
        self.unbar()
        self._tasks = (self._tasks[0] + 1, self._tasks[1])
        self.say(f"  {about}, level {level}, failed: {why}", "yellow")

    def on_no_question(self) -> None:
        self.say(
            "  there will be no verdict: it is about the arms ticket and dense, and not both are compared", "yellow"
        )

    def on_step(self, level: int, level_epoch: int, done: int, of: int, images: int) -> None:
        if done == 1:
            self._started = time.monotonic()
            return
        if self._tasks[1]:
            self.bar(f"level {self._tasks[0] + 1} of {self._tasks[1]}, epoch {level_epoch}", done, of, "")
            return
        rate = (done - 1) / max(time.monotonic() - self._started, 1e-6)
        left = clock((of - done) / rate)
        run_left = clock(((of - done) + of * (self._epochs_left - 1)) / rate)
        self.bar(
            f"level {level}, epoch {level_epoch}",
            done,
            of,
            f"{rate * images:,.0f} images/s, {left} left, {run_left} for the run",
        )

    def on_epoch(self, epoch: int, level: int, level_epoch: int, **found: Any) -> None:
        self._epochs_left -= 1
        self.unbar()
        cells = (
            str(epoch), str(level), str(level_epoch), f"{found['sparsity']:.2f}", f"{found['train_loss']:.4f}",
            f"{found['valid_loss']:.4f}", f"{100 * found['accuracy']:.2f}", f"{100 * found['balanced_accuracy']:.2f}",
            f"{found['seconds']:.1f}",
        )  # fmt: skip
        self.say("  ".join(f"{cell:>{width}}" for cell, (_, width) in zip(cells, COLUMNS, strict=True)))

    def on_saved(self, step: int, epoch_steps: int) -> None:
        self.say(f"  the state was saved {point(step, epoch_steps)}: later levels go back to it", "cyan")

    def on_replaying(self, step: int) -> None:
        self.say(f"  replaying level 0 up to step {step} to reach the rewind point", "cyan")

    def on_pruned(self, level: int, sparsity: float, target: float, grown: bool) -> None:
        self.say(f"  {'grown back' if grown else 'pruned'} to {sparsity:.2f} %", "magenta")

    def on_rewound(self, level: int, step: int, epoch_steps: int, retrain: str) -> None:
        which = "initial values" if step == 0 else f"values {point(step, epoch_steps)}"
        said = {
            "weights": f"weights went back to their {which}",
            "lr": f"weights stay, the learning rate went back to its {which.replace('values', 'value')}",
            "finetune": "weights stay, training goes on at the last learning rate",
        }[retrain]
        self.say(f"  {said}: level {level} begins", "magenta")

    def on_reordered(self, level: int, order: int) -> None:
        self.say(f"  level {level} in another order of the images", "magenta")

    def on_reused(self, level: int, key: str, replay: bool, differs: list[str]) -> None:
        what = "the way to the rewind point" if replay else f"level {level}"
        self.say(f"  {what} was trained before and is taken over (levels/{key})", "green")
        if differs:
            self.say(f"  it was trained in another environment: {', '.join(differs)}", "yellow")

    def on_resumed(self, level: int, level_epoch: int, steps: int) -> None:
        more = f" and {plural(steps, 'step')}" if steps else ""
        self.say(f"  level {level} goes on after {plural(level_epoch, 'epoch')}{more} trained before", "green")

    def on_damaged(self, level: int, what: str, aside: str) -> None:
        instead = {"checkpoint": "it goes on from the one before, or begins anew", "result": "it is trained again"}
        self.say(f"  the {what} of level {level} is damaged and set aside as {aside}: {instead[what]}", "yellow")

    def on_waiting(self, **what: Any) -> None:
        self.say("  waiting: another process is working on the same thing", "yellow")

    def on_uncaptured(self, what: str, why: str) -> None:
        said = f"  {what} goes kernel by kernel, not as a CUDA graph: {why}"
        if said not in self._said:
            self._said.add(said)
            self.say(said, "yellow")

    def on_finished_before(self, run: str) -> None:
        self.say("this run is finished; here is what it found (train again: --fresh)", "green")

    def on_judging(self, batch_norm: str, masks: int) -> None:
        self._to_judge = masks
        self.say(
            f"  judging the mask on untrained weights, beside the dense network and random masks; "
            f"batch norm: {batch_norm}",
            "magenta",
        )

    def on_judged(self, name: str, done: int) -> None:
        self.bar("judging", done, self._to_judge, f"{done} of {self._to_judge}: {name}")

    def on_interpolating(self, networks: int) -> None:
        self._to_judge = networks
        self.say(f"  judging {networks} networks on the straight lines between trainings", "magenta")

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The terminal handed over, to a question or to another progress bar."""
        self._progress.stop()
        yield
        self._progress.start()

    def forecast(self, foreseen: dict[str, Any]) -> None:
        """What `--dry-run` found out."""
        self.unbar()
        self.console.print((shares_table if "train" in foreseen else forecast_table)(foreseen))
        state = "finished before" if foreseen["finished"] else "would be"
        self.say(f"{state} in {foreseen['run_dir']}; nothing was trained")

    def interrupted(self, fresh: bool) -> None:
        """What Ctrl-C leaves behind."""
        self.unbar()
        again = "what --fresh had not finished begins anew" if fresh else "the same command goes on from there"
        if self._tasks[1]:
            done, of = self._tasks
            self.say(f"interrupted; kept: {done} of {of} levels, the others up to their checkpoints; {again}", "yellow")
            return
        if self._kept is None:
            self.say("interrupted before an epoch was finished; there was nothing to keep", "yellow")
            return
        level, level_epoch = self._kept
        self.say(f"interrupted; kept: everything up to epoch {level_epoch} of level {level}; {again}", "yellow")

    def close(self, summary: dict[str, Any]) -> None:
        """Everything that is known at the end."""
        self.unbar()
        is_study = summary["experiment"] == "compare"
        paths = "connectivity" in summary
        if self.quiet:
            said = study_line if is_study else connectivity.one_line if paths else one_line
            self.say(said(summary))
        elif is_study:
            self.console.print(*study_summary(summary), sep="\n")
            self.say(f"report: {summary['run_dir']}/report.html")
        else:
            self.console.print(*(connectivity.closing if paths else closing)(summary), sep="\n")
