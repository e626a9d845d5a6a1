"""What happens in a run, as typed events.

Code that works emits events; the screen shows them and the run directory keeps them. Neither knows the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from lthrun.records import EpochRecord, LevelTest


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Attributes:
        is_recorded: whether events.jsonl keeps it.
    """

    is_recorded: ClassVar[bool] = False

    @property
    def kind(self) -> str:
        """Its name in events.jsonl: `run_started`."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()

    def to_dict(self) -> dict[str, Any]:
        return {"event": self.kind, **asdict(self)}


class RecordedEvent(Event):
    """An event that events.jsonl keeps."""

    is_recorded = True


Emit = Callable[[Event], None]


def ignore(event: Event) -> None:
    """An `Emit` that does nothing."""


def only(kinds: type[Event] | tuple[type[Event], ...], emit: Emit) -> Emit:
    """`emit` for events of some kinds only."""
    return lambda event: emit(event) if isinstance(event, kinds) else None


def without(kind: type[Event], emit: Emit) -> Emit:
    """`emit` for events of all other kinds."""
    return lambda event: None if isinstance(event, kind) else emit(event)


@dataclass(frozen=True)
class Busy(Event):
    """Something that takes a while and has no progress."""

    doing: str


@dataclass(frozen=True)
class ImagesFound(Event):
    count: int
    folder: str


@dataclass(frozen=True)
class Decoding(Event):
    """Images are decoded into the store: `done` of `total`."""

    done: int
    total: int


@dataclass(frozen=True)
class Waiting(Event):
    """Another process holds the lock of `what`."""

    what: str


@dataclass(frozen=True)
class RunStarted(RecordedEvent):
    experiment: str
    levels: int
    epochs: int
    device: str
    precision: str
    n_train: int
    n_valid: int


@dataclass(frozen=True)
class StudyStarted(RecordedEvent):
    arms: int
    seeds: int
    levels: int
    device: str
    precision: str
    n_train: int
    n_valid: int


@dataclass(frozen=True)
class SweepStarted(Event):
    experiment: str
    runs: int
    levels: int
    device: str
    precision: str


@dataclass(frozen=True)
class NoVerdict(Event):
    """The study cannot have a verdict."""

    reason: str


@dataclass(frozen=True)
class RunFinished(RecordedEvent):
    run_dir: str


@dataclass(frozen=True)
class AlreadyFinished(Event):
    run_dir: str


@dataclass(frozen=True)
class LevelFinished(RecordedEvent):
    """A level is among the finished ones. `accuracy` is 0 to 1, `sparsity` percent."""

    key: str
    about: str
    level: int
    is_reused: bool
    seconds: float
    accuracy: float
    sparsity: float


@dataclass(frozen=True)
class LevelFailed(RecordedEvent):
    key: str
    about: str
    level: int
    reason: str


@dataclass(frozen=True)
class Step(Event):
    """A training step: `done` of the `total` steps of an epoch, of `images` each."""

    level: int
    level_epoch: int
    done: int
    total: int
    images: int


@dataclass(frozen=True)
class CudaGraphFallback(RecordedEvent):
    """CUDA graph capture is disabled for `what`."""

    what: str
    reason: str


@dataclass(frozen=True)
class Damaged(RecordedEvent):
    """A file of a level is damaged and was moved `aside`: its `checkpoint` or its `result`."""

    level: int
    what: str
    aside: str


@dataclass(frozen=True)
class Evaluating(RecordedEvent):
    """Networks that are not trained are evaluated; `what` says which."""

    what: str
    networks: int


@dataclass(frozen=True)
class Evaluated(Event):
    name: str
    done: int


class LevelEvent(RecordedEvent):
    """A step in the story of one level: too verbose for a study with hundreds of levels."""


@dataclass(frozen=True)
class EpochFinished(LevelEvent):
    is_recorded: ClassVar[bool] = False  # metrics.jsonl has it
    level: int
    record: EpochRecord
    test: LevelTest | None = None  # of the level, with its last epoch


@dataclass(frozen=True)
class StateSaved(LevelEvent):
    """The state at `step` is kept: a rewind point of later levels."""

    step: int
    epoch_steps: int


@dataclass(frozen=True)
class Replaying(LevelEvent):
    """Level 0 is trained up to `step` once more, to reach the rewind point."""

    step: int


@dataclass(frozen=True)
class Pruned(LevelEvent):
    """Sparsity changed, to `sparsity` percent as measured; `context` is local or global."""

    level: int
    sparsity: float
    target: float
    is_regrown: bool
    context: str


@dataclass(frozen=True)
class Rewound(LevelEvent):
    level: int
    step: int
    epoch_steps: int
    retrain: str


@dataclass(frozen=True)
class Reordered(LevelEvent):
    """The level sees its images in another order."""

    level: int
    order: int


@dataclass(frozen=True)
class LevelReused(LevelEvent):
    """A cached level is reused; `differences` name what its environment has other than this one."""

    level: int
    key: str
    is_replay: bool
    differences: tuple[str, ...] = ()


@dataclass(frozen=True)
class Resumed(LevelEvent):
    """Training resumes from a checkpoint: after `level_epoch` epochs and `steps` steps."""

    level: int
    level_epoch: int
    steps: int
