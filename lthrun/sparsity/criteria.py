"""Criteria: each scores a weight tensor elementwise; the lowest scores are pruned.

A new criterion is one registered function. Criteria that need images are in `measured_criteria.py`. w is the trained
weight, w₀ the weight at the rewind point; in the `updating_` forms, w₀ is the weight at the last pruning step (at the
rewind point before the first).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lthrun.registry import Entry, Table

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class CriterionEntry(Entry):
    """A criterion.

    Attributes:
        measured: it scores all tensors at once from a `ScoringContext`; others score each tensor from its `Weights`.
        may_empty: its masks may remove all weights of a tensor; it refuses by itself what disconnects the network.
        context: what `pruning.context: auto` means with it; global where its source ranks all layers together.
    """

    measured: bool = False
    may_empty: bool = False
    context: Literal["local", "global"] = "local"


CRITERIA = Table("criteria", "pruning.criterion", CriterionEntry)


@dataclass(frozen=True)
class Weights:
    """The values of one tensor that a criterion can use, all of one shape.

    Attributes:
        trained: the current values.
        rng: for criteria that draw random numbers.
        read_start, read_last: give `start` and `last`, which few criteria need: a copy of the network, and a file.
    """

    trained: Tensor
    rng: Generator
    read_start: Callable[[], Tensor]
    read_last: Callable[[], Tensor]

    @property
    def start(self) -> Tensor:
        """The values at the rewind point."""
        return self.read_start()

    @property
    def last(self) -> Tensor:
        """The values at the last pruning step; before the first, at the rewind point."""
        return self.read_last()


@CRITERIA.register("|w|: keeps large trained weights (Frankle & Carbin 2019, section 2).")
def large_final(w: Weights) -> Tensor:
    return w.trained.abs()


@CRITERIA.register("w²: large_final for single weights; groups are compared by their mean square (fasterai).")
def squared_final(w: Weights) -> Tensor:
    return w.trained.square()


@CRITERIA.register("−|w|: keeps small trained weights (Zhou et al. 2019, figure 3).")
def small_final(w: Weights) -> Tensor:
    return -w.trained.abs()


@CRITERIA.register("Uniform noise: the control for every other criterion.")
def random(w: Weights) -> Tensor:
    return w.trained.new_empty(w.trained.shape).uniform_(generator=w.rng)


@CRITERIA.register("|w₀|: keeps large initial weights (Zhou et al. 2019, figure 3).")
def large_init(w: Weights) -> Tensor:
    return w.start.abs()


@CRITERIA.register("−|w₀|: keeps small initial weights (Zhou et al. 2019, figure 3).")
def small_init(w: Weights) -> Tensor:
    return -w.start.abs()


@CRITERIA.register(
    "min(|w|, |w₀|): keeps weights that are large before and after training (Zhou et al. 2019, figure 3)."
)
def large_init_large_final(w: Weights) -> Tensor:
    return w.trained.abs().minimum(w.start.abs())


@CRITERIA.register(
    "−max(|w|, |w₀|): keeps weights that are small before and after training (Zhou et al. 2019, figure 3)."
)
def small_init_small_final(w: Weights) -> Tensor:
    return -w.trained.abs().maximum(w.start.abs())


@CRITERIA.register(
    "w · sign(w₀): keeps large weights of unchanged sign; best for supermasks (Zhou et al. 2019, section 5)."
)
def large_final_same_sign(w: Weights) -> Tensor:
    """Zhou et al. score max(0, w · sign(w₀)), which ties all weights that changed sign; here the largest of them are
    pruned first.
    """
    return w.trained * w.start.sign()


@CRITERIA.register("|w| − |w₀|: keeps weights that have grown (Zhou et al. 2019, figure 3).")
def magnitude_increase(w: Weights) -> Tensor:
    return w.trained.abs() - w.start.abs()


@CRITERIA.register("|w − w₀|: keeps weights that have moved (Zhou et al. 2019, figure 3).")
def movement(w: Weights) -> Tensor:
    return (w.trained - w.start).abs()


@CRITERIA.register("|w · (w − w₀)|: keeps large weights that have moved (fasterai).")
def movmag(w: Weights) -> Tensor:
    return (w.trained * (w.trained - w.start)).abs()


@CRITERIA.register("|w| − |w₀| since the last pruning step (fasterai).")
def updating_magnitude_increase(w: Weights) -> Tensor:
    return w.trained.abs() - w.last.abs()


@CRITERIA.register("|w − w₀| since the last pruning step (fasterai).")
def updating_movement(w: Weights) -> Tensor:
    return (w.trained - w.last).abs()


@CRITERIA.register("|w · (w − w₀)| since the last pruning step (fasterai).")
def updating_movmag(w: Weights) -> Tensor:
    return (w.trained * (w.trained - w.last)).abs()
