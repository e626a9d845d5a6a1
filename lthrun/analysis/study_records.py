"""The parts of a study's summary that answer its questions."""

from __future__ import annotations

from lthrun.records import Interval, Record


class Comparison(Record):
    """The answer to one question: does `arm` do better than `against` by a measure, at a sparsity in percent?"""

    arm: str
    against: str
    measure: str
    """accuracy, balanced_accuracy or early_stopping."""
    sparsity: float | None
    n: int
    """How many seeds have both arms."""
    seeds: list[int]
    differences: list[float]
    """One per seed, positive where the arm is better, in `unit`."""
    mean: float | None
    interval: Interval | None
    confidence: float
    p: float | None
    """Two-sided paired t test."""
    p_holm: float | None
    """Adjusted by Holm's procedure; null for the primary question."""
    word: str | None
    """wins, matches, loses or undecided; null with fewer than three seeds."""
    more_seeds: int | None
    """About how many more seeds would decide."""
    margin: float
    unit: str
    """points or epochs."""
    is_primary: bool


class SeedMean(Record):
    """Mean over seeds of a share (0 to 1), its 95 % t interval (null with fewer than three seeds), and the values."""

    mean: float
    interval: Interval | None
    values: list[float]


class Cell(Record):
    """One arm at one sparsity (null: at all of them)."""

    arm: str
    sparsity: float | None
    n: int
    seeds: list[int]
    accuracy: SeedMean
    balanced_accuracy: SeedMean
    epochs: float
    """Of the last training."""
    search_epochs: float
    """And of everything trained before it."""
    measured_sparsity: float


class Reach(Record):
    """How soon an arm reaches the accuracy at which the dense network of its seed ends."""

    arm: str
    sparsity: float | None
    reached: int
    """In how many seeds it does."""
    total: int
    median_epochs: float | None


class LayerSparsity(Record):
    """Percent of a layer's weights that the tickets prune, over the seeds."""

    sparsity: float
    layer: str
    pruned: float
    lowest: float
    highest: float
    total: int


class MaskOverlap(Record):
    """Weights that the tickets of two seeds both keep, as a share (0 to 1) of those that either keeps."""

    sparsity: float
    pairs: int
    overlap: float
    lowest: float
    highest: float
    chance: float
    """What random masks of the same per-layer density share."""


class Verdict(Record):
    word: str | None
    """Of the primary comparison; null without one."""
    winning_ticket: bool | None
    sentences: list[str]


class StudyFindings(Record):
    """The answer to a study's question, and what it rests on."""

    seeds: list[int]
    arms: list[str]
    sparsities: list[float]
    margin: float
    question: str
    verdict: Verdict
    comparisons: list[Comparison]
    reach: list[Reach]
    cells: list[Cell]
