"""Planned looks: how sure each interval must be so that a study may be answered several times as its seeds grow.

A look is one answer from the seeds that are there. A study declares the most seeds it may use; a look at n of them may
spend the share of the error that an alpha-spending function allows at n / most (Lan & DeMets 1983). The default is the
Pocock type: looks cost little, so the error is spent evenly. The interval of a look has the confidence that remains: a
repeated confidence interval (Jennison & Turnbull 2000, chapter 9). All intervals of a study together contain the true
difference in 95 % of all studies, at whichever look it stops. The looks need not be planned in number or position, as
long as they do not depend on what earlier looks showed.

Nominal levels come from recursive numerical integration over the undecided region (Armitage, McPherson & Rowe 1969) for
normal means of known variance. Student's t with few seeds takes over the level, not the boundary: a look of nominal
level p uses the t quantile at p with n - 1 degrees of freedom (the significance-level approach of Jennison & Turnbull
2000, section 3.8). That is approximate; `make check-verdict` measures how well it holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from lthrun.analysis.intervals import CONFIDENCE
from lthrun.analysis.seed_means import FEWEST_SEEDS

if TYPE_CHECKING:
    import numpy as np

ERROR = 1 - CONFIDENCE
Spending = Callable[[float, float], float]
"""From the whole two-sided error and the fraction of the seeds to the error spent until there."""


def spend_as_pocock(error: float, fraction: float) -> float:
    """The Pocock type of Lan & DeMets 1983: nearly equal levels at equally spaced looks."""
    return error if fraction >= 1 else error * math.log(1 + (math.e - 1) * fraction)


@dataclass(frozen=True)
class Look:
    """A look at `seeds` seeds of a study that declared `most_seeds`, after `earlier` looks at so many seeds each."""

    seeds: int
    most_seeds: int
    earlier: tuple[int, ...] = ()

    def level(self, error: float = ERROR) -> float:
        """The two-sided level of this look, where all looks together may err in a share `error` of studies.

        Fewer than three seeds have no interval, so they are no look.
        Beyond the declared seeds nothing is left to spend: the level is that of a last look at the declared number,
        and the promise no longer holds.
        """
        reached = min(self.seeds, self.most_seeds)
        numbers = sorted({seeds for seeds in self.earlier if FEWEST_SEEDS <= seeds < reached} | {reached})
        return nominal_levels(tuple(seeds / self.most_seeds for seeds in numbers), error)[-1]

    def next(self, seeds: int) -> Look:
        """A later look of the same study."""
        return Look(seeds, self.most_seeds, (*self.earlier, self.seeds))

    @property
    def is_only(self) -> bool:
        """Whether this is the one look that was planned: its interval is an ordinary one."""
        return self.level() == ERROR

    @property
    def is_planned(self) -> bool:
        return self.seeds <= self.most_seeds


@lru_cache(4096)
def nominal_levels(
    fractions: tuple[float, ...], error: float = ERROR, spend: Spending = spend_as_pocock
) -> tuple[float, ...]:
    """The two-sided nominal level of each look, at rising fractions (above 0, up to 1) of the most seeds.

    Without a difference the score at fraction t is a Brownian motion B(t). Its density is followed on the region in
    which no look has rejected. The bound of a look is the one that B exceeds, in size, with the probability that may
    be spent since the look before.
    """
    import numpy as np
    from scipy.special import ndtr, ndtri

    levels = [spend(error, fractions[0])]  # exactly, so that one look is an ordinary interval
    bound = -ndtri(levels[0] / 2) * math.sqrt(fractions[0])
    places, masses = np.zeros(1), np.ones(1)  # B(0) = 0
    start = 0.0
    for before, fraction in pairwise(fractions):
        places, masses = propagate(places, masses, math.sqrt(before - start), bound)
        start, deviation = before, math.sqrt(fraction - before)
        bound = find_bound(places, masses, deviation, spend(error, fraction) - spend(error, before))
        levels.append(float(2 * ndtr(-bound / math.sqrt(fraction))))
    return tuple(levels)


def propagate(places: np.ndarray, masses: np.ndarray, deviation: float, bound: float) -> tuple[np.ndarray, np.ndarray]:
    """Masses at the nodes of a Gauss-Legendre rule within ± bound, after a normal step of the masses at `places`."""
    import numpy as np
    from scipy.special import roots_legendre

    nodes, weights = roots_legendre(40 + math.ceil(4 * bound / deviation))  # several nodes per deviation
    density = np.exp(-(((bound * nodes[:, None] - places) / deviation) ** 2) / 2) @ masses
    return bound * nodes, bound * weights * density / (deviation * math.sqrt(2 * math.pi))


def find_bound(places: np.ndarray, masses: np.ndarray, deviation: float, probability: float) -> float:
    """The size that is exceeded with a probability after a normal step of the masses at `places`."""
    from scipy.optimize import brentq
    from scipy.special import ndtr

    def excess(bound: float) -> float:
        outside = ndtr((places - bound) / deviation) + ndtr((-places - bound) / deviation)
        return float(masses @ outside) - probability

    return float(brentq(excess, 0, 40, xtol=1e-13))
