"""reproduction.json as a typed model."""

from __future__ import annotations

from typing import Literal

from lthrun.records import Interval, Record


class ClaimResult(Record):
    """A published claim, and the figure here."""

    claim: str
    published: str
    value: float | None
    """In `unit`; null where nothing of it was run."""
    interval: Interval | None
    """95 %; null with fewer than three seeds."""
    n: int
    unit: str
    rule: str
    """Where the whole interval has to lie for the claim to agree; where none of it does, the claim disagrees."""
    answer: Literal["agrees", "disagrees", "not decided"]


class ReproductionSummary(Record):
    """The claims of a source, and the runs that they were measured on."""

    format: int
    reproduction: str
    about: str
    source: str
    is_quick: bool
    seeds: int
    claims: list[ClaimResult]
    changes: list[str]
    """What makes it another experiment than that of the source: --quick, --config, synthetic images."""
    departures: list[str]
    """What differs from the source in any case."""
    runs: list[str]
    """Directories of the runs and studies."""
    missing: list[str]
    """Results that there are not, and why."""
    device: str
    precision: str
    n_train: int
    n_valid: int
    n_test: int
    seconds: float
    """Of training, over all levels."""
    run_dir: str

    def count(self, answer: str) -> int:
        return sum(claim.answer == answer for claim in self.claims)
