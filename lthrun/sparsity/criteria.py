"""Criteria: each scores a weight tensor elementwise; the lowest scores are pruned.

A new criterion is one registered function. Those that have to see images are in `measured.py`. w is the trained weight,
w₀ the weight at the rewind point; in the `updating_` forms, w₀ is the weight at the last pruning (the rewind point
before the first).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lthrun.registry import Entry, Table

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class CriterionEntry(Entry):
    """A criterion: a `measured` one scores all tensors at once from a `ScoringContext`, another each from `Weights`."""

    measured: bool = False


CRITERIA = Table("criteria", "pruning.criterion", CriterionEntry)


@dataclass(frozen=True)
class Weights:
    """One tensor at the moments a criterion may look at; all of one shape.

    Attributes:
        trained: now.
        start: at the rewind point.
        last: at the last pruning; before the first, at the rewind point.
        draw: for the criteria that draw.
    """

    trained: Tensor
    start: Tensor
    last: Tensor
    draw: Generator


@CRITERIA.register("|w|: the largest trained magnitude stays (Frankle & Carbin 2019, section 2).")
def large_final(w: Weights) -> Tensor:
    return w.trained.abs()


@CRITERIA.register("w²: as large_final weight by weight; groups are compared by their mean square (fasterai).")
def squared_final(w: Weights) -> Tensor:
    return w.trained.square()


@CRITERIA.register("−|w|: the smallest trained magnitude stays (Zhou et al. 2019, figure 3).")
def small_final(w: Weights) -> Tensor:
    return -w.trained.abs()


@CRITERIA.register("Uniform noise: the control every other criterion has to beat.")
def random(w: Weights) -> Tensor:
    return w.trained.new_empty(w.trained.shape).uniform_(generator=w.draw)


@CRITERIA.register("|w₀|: the largest initial magnitude stays (Zhou et al. 2019, figure 3).")
def large_init(w: Weights) -> Tensor:
    return w.start.abs()


@CRITERIA.register("−|w₀|: the smallest initial magnitude stays (Zhou et al. 2019, figure 3).")
def small_init(w: Weights) -> Tensor:
    return -w.start.abs()


@CRITERIA.register("min(|w|, |w₀|): large before and after training (Zhou et al. 2019, figure 3).")
def large_init_large_final(w: Weights) -> Tensor:
    return w.trained.abs().minimum(w.start.abs())


@CRITERIA.register("−max(|w|, |w₀|): small before and after training (Zhou et al. 2019, figure 3).")
def small_init_small_final(w: Weights) -> Tensor:
    return -w.trained.abs().maximum(w.start.abs())


@CRITERIA.register("w · sign(w₀): large, and the sign was kept; best for supermasks (Zhou et al. 2019, section 5).")
def large_final_same_sign(w: Weights) -> Tensor:
    """Zhou et al. score max(0, w · sign(w₀)), which leaves all weights that changed sign in a tie; here the
    largest of them go first.
    """
    return w.trained * w.start.sign()


@CRITERIA.register("|w| − |w₀|: what has grown stays (Zhou et al. 2019, figure 3).")
def magnitude_increase(w: Weights) -> Tensor:
    return w.trained.abs() - w.start.abs()


@CRITERIA.register("|w − w₀|: what has moved stays (Zhou et al. 2019, figure 3).")
def movement(w: Weights) -> Tensor:
    return (w.trained - w.start).abs()


@CRITERIA.register("|w · (w − w₀)|: what is large and has moved stays (fasterai).")
def movmag(w: Weights) -> Tensor:
    return (w.trained * (w.trained - w.start)).abs()


@CRITERIA.register("|w| − |w₀| since the last pruning (fasterai).")
def updating_magnitude_increase(w: Weights) -> Tensor:
    return w.trained.abs() - w.last.abs()


@CRITERIA.register("|w − w₀| since the last pruning (fasterai).")
def updating_movement(w: Weights) -> Tensor:
    return (w.trained - w.last).abs()


@CRITERIA.register("|w · (w − w₀)| since the last pruning (fasterai).")
def updating_movmag(w: Weights) -> Tensor:
    return (w.trained * (w.trained - w.last)).abs()
