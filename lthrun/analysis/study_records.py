"""The parts of a study's summary that answer its questions."""

from __future__ import annotations

from typing import Literal

from lthrun.records import Interval, Record

Correction = Literal["none", "looks", "questions", "looks and questions"]
OverlapKind = Literal["large-init", "orders", "seeds"]


class Forecast(Record):
    """Numbers of seeds that give a verdict with a chance, if further seeds are like those so far.

    Null: more than the study has planned, or more than 10,000.
    """

    is_fresh: bool
    """Whether they are those of a fresh study on new seeds, since no further look of this one is planned."""
    seeds: int | None
    """With a chance of 80 %. All seeds of the study, those so far included."""
    lower: int | None
    """With a chance of 50 %."""
    upper: int | None
    """With a chance of 90 %."""
    chance_at_most: float | None
    """The chance of a verdict (0 to 1) with the most seeds that the study declared; null for a fresh one."""


class Extremes(Record):
    """What no interval over few seeds can show."""

    worst_seed: int
    worst: float
    """The difference of the worst seed."""
    beyond_margins: list[int]
    """Seeds whose difference is larger than five margins, either way."""
    collapse_rate_limit: float | None
    """The highest rate (0 to 1) of differences more than five margins below 0 that the seeds still allow, at 95 %."""


class Comparison(Record):
    """The answer to one question: does `arm` do better than `against` by a measure, at a sparsity in percent?"""

    arm: str
    against: str
    measure: str
    """accuracy, balanced_accuracy, early_stopping or lowest_loss."""
    sparsity: float | None
    n: int
    """How many seeds have both arms."""
    seeds: list[int]
    differences: list[float]
    """One per seed, positive where the arm is better, in `unit`."""
    mean: float | None
    interval: Interval | None
    confidence: float
    correction: Correction
    """What the confidence is raised for: several planned looks, the number of exploratory questions (Holm), both."""
    p: float | None
    """Two-sided paired t test for no difference."""
    p_match: float | None
    """Twice the larger p value of the two one-sided tests for a difference beyond the margin."""
    p_holm: float | None
    """`p`, adjusted by Holm's procedure so that 0.05 is its threshold at this look; null for the parts of the claim."""
    p_match_holm: float | None
    """`p_match`, adjusted in the same way."""
    word: str | None
    """wins, matches, loses or undecided; null with fewer than three seeds."""
    margin: float
    unit: str
    """points, epochs or percent."""
    is_primary: bool
    is_claim: bool
    """Whether it is a part of the claim "winning ticket"; the primary question is one."""
    forecast: Forecast | None
    """Where undecided."""
    extremes: Extremes | None
    """Of accuracies."""
    condition: Comparison | None
    """Of early_stopping: the lowest losses. It has to win or match before the arm counts as sooner."""


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
    """After the last epoch, on the validation images."""
    balanced_accuracy: SeedMean
    test_accuracy: SeedMean | None = None
    """After the last epoch, on the test images; null where there are none."""
    test_balanced_accuracy: SeedMean | None = None
    early_stop_test_accuracy: SeedMean | None = None
    """On the test images, at the interim evaluation of lowest validation loss."""
    epochs: float
    """Of the last training."""
    search_epochs: float
    """And of everything trained before it."""
    measured_sparsity: float

    @property
    def final_accuracy(self) -> SeedMean:
        """What the verdict is about: on the test images, or without any on the validation images."""
        return self.test_accuracy or self.accuracy

    @property
    def final_balanced_accuracy(self) -> SeedMean:
        return self.test_balanced_accuracy or self.balanced_accuracy


class Reach(Record):
    """How soon an arm reaches the accuracy at which the dense network of its seed ends."""

    arm: str
    sparsity: float | None
    reached: int
    """In how many seeds it does."""
    total: int
    median_epochs: float | None
    """Seeds that never reach it count as later than the end; null where the median is one of them."""


class LayerSparsity(Record):
    """Percent of a layer's weights that the tickets prune, over the seeds."""

    sparsity: float
    layer: str
    pruned: float
    lowest: float
    highest: float
    total: int


class MaskOverlap(Record):
    """Weights that two masks both keep, as a share (0 to 1) of those that either keeps."""

    sparsity: float
    kind: OverlapKind
    """Of the ticket and the largest initial weights; of one initialization trained in two orders of the images; of two
    seeds, where the symmetry of a layer's units leaves nothing but chance."""
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
    """Whether the claim "winning ticket" is shown; null where a part of it is not known."""
    warnings: list[str]
    """What a reader has to know before the answer."""
    answer: str
    reason: str
    details: list[str]

    @property
    def sentences(self) -> list[str]:
        """All of it, in the order of reading."""
        return [*self.warnings, self.answer, self.reason, *self.details]


class StudyFindings(Record):
    """The answer to a study's question, and what it rests on."""

    seeds: list[int]
    arms: list[str]
    sparsities: list[float]
    margin: float
    most_seeds: int
    """Declared when the study began; beyond it the errors are not bounded."""
    looks: list[int]
    """Numbers of seeds at which it has been answered, this time included."""
    question: str
    verdict: Verdict
    comparisons: list[Comparison]
    reach: list[Reach]
    cells: list[Cell]

    @property
    def primary(self) -> Comparison | None:
        """The answer to the primary question; None where an arm of it is absent."""
        return next((row for row in self.comparisons if row.is_primary), None)
