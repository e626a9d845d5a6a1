"""summary.json as typed models. An experiment with more to report adds its part in its own file."""

from __future__ import annotations

from typing import Any, Literal

from lthrun.analysis.study_records import LayerSparsity, MaskOverlap, StudyFindings
from lthrun.records import Interval, LayerCounts, Measured, Record


class Tested(Measured):
    """A network on the validation images, and on the test images, which nothing else has seen."""

    test: Measured | None = None
    """After the last epoch; null where there are no test images."""
    early_stop_test: Measured | None = None
    """At the interim evaluation of lowest validation loss; null without one."""


class LevelSummary(Tested):
    """One level of a run, as measured after its last epoch."""

    level: int
    key: str
    reused: bool
    sparsity: float
    """Percent of the prunable weights that are zero, counted."""
    epochs: int
    first_epoch_accuracy: float
    first_train_loss: float | None
    best_accuracy: float
    """Of all its epochs: selected on the validation set, so optimistic."""
    seconds: float
    layers: LayerCounts


class Summary(Record):
    """What a run and a study have in common."""

    format: int
    differs: dict[str, Any]
    """What sets the config apart from the defaults of its experiment, by key."""
    device: str
    precision: str
    n_train: int
    n_valid: int
    n_test: int
    classes: list[str]
    majority_rate: float
    """Accuracy of always answering the most common class, 0 to 1."""
    majority_interval: Interval
    seconds: float
    """Of training, over all levels."""
    run_dir: str
    files: dict[str, int]
    """Bytes of each tensor file."""

    @property
    def n_final(self) -> int:
        """The number of images that final accuracies are of."""
        return self.n_test or self.n_valid

    @property
    def metrics_lines(self) -> int:
        """Lines of metrics.jsonl."""
        raise NotImplementedError


class RunSummary(Summary, Tested):
    """A run. Accuracies are those after the last epoch of the last level."""

    experiment: str
    seed: int
    rewind_point: str
    protocol: str
    sparsity: float
    epochs: int
    """Of all levels together."""
    levels: list[LevelSummary]

    @property
    def metrics_lines(self) -> int:
        return self.epochs


class MissingResult(Record):
    """A result that a study does not have, and why."""

    arm: str
    seed: int
    sparsity: float | None
    reason: str


class LevelCounts(Record):
    trained: int
    reused: int
    failed: int


class StudySummary(Summary, StudyFindings):
    """A study: the answer to its question, and what it rests on."""

    experiment: Literal["compare"]
    valid_majority_rate: float
    """Of the validation images; `majority_rate` is that of the images that the verdict is about."""
    about: dict[str, str]
    """One line on each arm."""
    layers: list[LayerSparsity]
    overlap: list[MaskOverlap]
    notes: list[str]
    missing: list[MissingResult]
    epoch_steps: int
    epochs: int
    """Of each training."""
    levels: LevelCounts
    lines: int
    """Of metrics.jsonl."""

    @property
    def metrics_lines(self) -> int:
        return self.lines
