"""What is measured and written down: the record of an epoch and of a level, and the bases of a summary."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict

Interval = tuple[float, float]
LayerCounts = dict[str, tuple[int, int]]  # per tensor: weights that are pruned, and all


@dataclass(frozen=True)
class InterimEvaluation:
    """A validation within an epoch, after training step `step`. Accuracy is 0 to 1."""

    step: int
    loss: float
    accuracy: float


@dataclass(frozen=True)
class EpochRecord:
    """What was measured after one epoch of a level.

    Losses are means over images, accuracies 0 to 1, sparsity is percent; `correct` counts the right answers per class;
    `step` is the training step after the epoch; `time` is seconds since 1970. An evaluation without training has no
    training loss.
    """

    level_epoch: int
    sparsity: float
    train_loss: float | None
    valid_loss: float
    accuracy: float
    balanced_accuracy: float
    seconds: float
    images_per_second: float | None
    time: float
    step: int
    correct: list[int]
    interim_evaluations: list[InterimEvaluation] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> EpochRecord:
        interim = [InterimEvaluation(**found) for found in facts.get("interim_evaluations", [])]
        return cls(**{**facts, "interim_evaluations": interim})


@dataclass(frozen=True)
class FinalEvaluation:
    """An evaluation on the test images of the network after training step `step`.

    The loss is the mean over images, accuracies are 0 to 1; `correct` counts the right answers per class.
    """

    step: int
    loss: float
    accuracy: float
    balanced_accuracy: float
    correct: list[int]


@dataclass(frozen=True)
class LevelTest:
    """The test of a level: evaluations that happen once, after its training, and that nothing else depends on.

    Attributes:
        last: of the network at its end.
        early_stop: of the network at the interim evaluation of lowest validation loss; None without such evaluations.
    """

    last: FinalEvaluation
    early_stop: FinalEvaluation | None = None

    @property
    def metrics(self) -> dict[str, float]:
        """What a line of metrics.jsonl has of it."""
        found = {"test_accuracy": self.last.accuracy, "test_balanced_accuracy": self.last.balanced_accuracy}
        return found | ({"early_stop_test_accuracy": self.early_stop.accuracy} if self.early_stop else {})

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> LevelTest:
        early_stop = facts["early_stop"]
        return cls(FinalEvaluation(**facts["last"]), early_stop and FinalEvaluation(**early_stop))


@dataclass(frozen=True)
class LevelRecord:
    """level.json: what a finished level measured, and where. `sparsity` is percent at its end; `test` is None where
    there are no test images."""

    level: int
    sparsity: float
    layers: LayerCounts
    epochs: list[EpochRecord]
    environment: dict[str, Any]
    test: LevelTest | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> LevelRecord:
        """Raises KeyError, TypeError or ValueError where the facts are not those of a level."""
        return cls(
            facts["level"],
            facts["sparsity"],
            {name: (int(pruned), int(total)) for name, (pruned, total) in facts["layers"].items()},
            [EpochRecord.from_dict(epoch) for epoch in facts["epochs"]],
            facts["environment"],
            LevelTest.from_dict(facts["test"]) if facts.get("test") else None,
        )


class Record(BaseModel):
    """A part of summary.json."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, defer_build=True)


class Measured(Record):
    """Accuracies, 0 to 1, with 95 % intervals over images."""

    accuracy: float
    accuracy_interval: Interval
    balanced_accuracy: float
    balanced_accuracy_interval: Interval
