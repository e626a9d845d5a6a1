"""What an experiment is: one entry of `EXPERIMENTS`, in a file of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lthrun.config.base import ExperimentConfig
from lthrun.events import Emit, RunStarted
from lthrun.experiments.summaries import RunSummary, StudySummary
from lthrun.levels.keys import Conditions
from lthrun.levels.plan import Level
from lthrun.registry import Entry, Table
from lthrun.storage.run_dir import RunDir


@dataclass(frozen=True)
class PlannedResult:
    """A result that an experiment reports: the end of `level`, trained by `config`."""

    about: str
    config: ExperimentConfig
    level: Level

    @property
    def group(self) -> str:
        """The row of a dry run that it belongs to."""
        return self.about


Plan = Callable[[Any, Conditions], Sequence[PlannedResult]]


def no_evaluations(config: Any, levels: Sequence[Level]) -> tuple[int, bool]:
    return 0, False


def announce_run(run: Any, emit: Emit) -> None:
    emit(RunStarted(run.config.experiment, len(run.levels), run.epochs, **run.context.facts))


@dataclass(frozen=True)
class Experiment(Entry):
    """An experiment; `make` is its config class.

    Attributes:
        plan: its results, from a config and the conditions of this machine; every level is known before any is trained.
        announce: called with a `Run` and an `Emit` when it starts.
        evaluate: called with a `TrainedRun`: evaluates and writes what follows the training; gives the summary.
        summary: the model of its summary.json.
        options: the config keys that are options of its command, beside those of every experiment.
        count_evaluations: how many networks are evaluated after the training, and whether batch norm is recalibrated
            for each: for the dry run.
        plan_next: called with the config and the summary: the config of a further round in the same directory, or None.
        foresee: called with the config and the run directory: what a dry run says beside the cost.
        is_study: whether it consists of many trainings, of which some may fail, and their epochs are not shown.
    """

    plan: Plan = lambda config, conditions: []
    announce: Callable[[Any, Emit], None] = announce_run
    evaluate: Callable[[Any], RunSummary | StudySummary] = lambda run: RunSummary(**run.summarize())
    summary: type[RunSummary | StudySummary] = RunSummary
    options: tuple[str, ...] = ()
    count_evaluations: Callable[[Any, Sequence[Level]], tuple[int, bool]] = no_evaluations
    plan_next: Callable[[Any, Any], ExperimentConfig | None] = lambda config, summary: None
    foresee: Callable[[Any, RunDir], Mapping[str, Any]] = lambda config, run_dir: {}
    is_study: bool = False


PRUNING_OPTIONS = (
    "pruning.sparsity", "pruning.steps", "pruning.schedule", "pruning.criterion", "pruning.granularity",
    "pruning.context",
)  # fmt: skip
EXPERIMENTS = Table("experiments", "experiment", Experiment)


def plan_levels(levels: Sequence[Level], config: ExperimentConfig) -> list[PlannedResult]:
    """The levels of one run as its results."""
    return [PlannedResult(describe_level(level), config, level) for level in levels]


def describe_level(level: Level) -> str:
    if not level.is_masked:
        sparsity = "dense"
    else:
        sparsity = "sparsity learned" if level.learned == "bernoulli" else f"{level.sparsity:.2f} %"
    notes = [level.control] if level.control else []
    notes += ["in another order"] if level.order else []
    return ", ".join([f"level {level.index}", sparsity, *notes])
