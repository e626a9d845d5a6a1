"""What a reproduction is: the runs that a source's claims are about, and the claims, each with a rule.

A new one is a file with an entry of `REPRODUCTIONS`. Its runs are ordinary experiments. Each claim has a measure, which
makes one figure with an interval of what was run, and a rule, fixed here before anything is run, that makes the answer
of that interval alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from lthrun.records import Interval
from lthrun.registry import Entry, Table
from lthrun.reproductions.findings import Findings

Answer = Literal["agrees", "disagrees", "not decided"]


class Rule(NamedTuple):
    """A claim agrees if the whole interval lies between these bounds, and disagrees if no part of it does."""

    low: float = -math.inf
    high: float = math.inf

    def answer(self, interval: Interval | None) -> Answer:
        """Without an interval, as from fewer than three seeds, nothing is decided."""
        if interval is None:
            return "not decided"
        low, high = interval
        if self.low < low and high < self.high:
            return "agrees"
        return "disagrees" if high < self.low or low > self.high else "not decided"

    def describe(self, unit: str) -> str:
        """`above 0 points`, `from −0.3 to 0.3 points`."""
        if math.isinf(self.high):
            text = f"above {self.low:g}"
        elif math.isinf(self.low):
            text = f"below {self.high:g}"
        else:
            text = f"from {self.low:g} to {self.high:g}"
        return f"{text} {unit}".replace("-", "−")


class Measurement(NamedTuple):
    """A figure, its 95 % interval (None: too few seeds), and how many things it is the mean of."""

    value: float
    interval: Interval | None
    n: int


@dataclass(frozen=True)
class Claim:
    """A published claim.

    Attributes:
        sentence: what is claimed.
        published: the figure of the source, and where it stands there.
        unit: of the figure and of the bounds of the rule: points, %, or ×.
        measure: the figure of what was run; None where nothing of it was.
    """

    sentence: str
    published: str
    unit: str
    measure: Callable[[Findings], Measurement | None]
    rule: Rule


class Scale(NamedTuple):
    """How much is run."""

    seeds: int
    is_quick: bool


@dataclass(frozen=True)
class Part:
    """One run or study: the values of its config by key path. Runs that differ only in their seed share a name."""

    name: str
    experiment: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Reproduction(Entry):
    """`make(scale)` lists the parts that are run.

    Attributes:
        source: whose claims these are.
        seeds, quick_seeds: of each part, by default.
        least_seeds: with fewer no claim is decided.
        quick: what else is less with --quick, in words.
        cost: what all of it takes, and where that was measured.
        departures: what differs from the source, in sentences.
    """

    source: str = ""
    claims: Sequence[Claim] = ()
    seeds: int = 10
    quick_seeds: int = 3
    least_seeds: int = 3
    quick: str = ""
    cost: str = ""
    departures: Sequence[str] = ()


REPRODUCTIONS = Table("reproductions", "lthrun reproduce", Reproduction)
