"""Criteria: each scores a weight tensor elementwise; the lowest scores are pruned.

A new criterion is one function here and one line in `CRITERIA`; the first line of its docstring is what `lthrun list`
says of it. Those that have to see images are in `measured.py`. w is the trained weight, w₀ the weight at the rewind
point; in the `updating_` forms, w₀ is the weight at the last pruning (the rewind point before the first).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator, Tensor


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


def large_final(w: Weights) -> Tensor:
    """|w|: the largest trained magnitude stays (Frankle & Carbin 2019, section 2)."""
    return w.trained.abs()


def squared_final(w: Weights) -> Tensor:
    """w²: as large_final weight by weight; groups are compared by their mean square (fasterai)."""
    return w.trained.square()


def small_final(w: Weights) -> Tensor:
    """−|w|: the smallest trained magnitude stays (Zhou et al. 2019, figure 3)."""
    return -w.trained.abs()


def random(w: Weights) -> Tensor:
    """Uniform noise: the control every other criterion has to beat."""
    return w.trained.new_empty(w.trained.shape).uniform_(generator=w.draw)


def large_init(w: Weights) -> Tensor:
    """|w₀|: the largest initial magnitude stays (Zhou et al. 2019, figure 3)."""
    return w.start.abs()


def small_init(w: Weights) -> Tensor:
    """−|w₀|: the smallest initial magnitude stays (Zhou et al. 2019, figure 3)."""
    return -w.start.abs()


def large_init_large_final(w: Weights) -> Tensor:
    """min(|w|, |w₀|): large before and after training (Zhou et al. 2019, figure 3)."""
    return w.trained.abs().minimum(w.start.abs())


def small_init_small_final(w: Weights) -> Tensor:
    """−max(|w|, |w₀|): small before and after training (Zhou et al. 2019, figure 3)."""
    return -w.trained.abs().maximum(w.start.abs())


def large_final_same_sign(w: Weights) -> Tensor:
    """w · sign(w₀): large, and the sign was kept; best for supermasks (Zhou et al. 2019, section 5).

    Zhou et al. score max(0, w · sign(w₀)), which leaves all weights that changed sign in a tie; here the
    largest of them go first.
    """
    return w.trained * w.start.sign()


def magnitude_increase(w: Weights) -> Tensor:
    """|w| − |w₀|: what has grown stays (Zhou et al. 2019, figure 3)."""
    return w.trained.abs() - w.start.abs()


def movement(w: Weights) -> Tensor:
    """|w − w₀|: what has moved stays (Zhou et al. 2019, figure 3)."""
    return (w.trained - w.start).abs()


def movmag(w: Weights) -> Tensor:
    """|w · (w − w₀)|: what is large and has moved stays (fasterai)."""
    return (w.trained * (w.trained - w.start)).abs()


def updating_magnitude_increase(w: Weights) -> Tensor:
    """|w| − |w₀| since the last pruning (fasterai)."""
    return w.trained.abs() - w.last.abs()


def updating_movement(w: Weights) -> Tensor:
    """|w − w₀| since the last pruning (fasterai)."""
    return (w.trained - w.last).abs()


def updating_movmag(w: Weights) -> Tensor:
    """|w · (w − w₀)| since the last pruning (fasterai)."""
    return (w.trained * (w.trained - w.last)).abs()


Criterion = Callable[[Weights], "Tensor"]
CRITERIA: dict[str, Criterion] = {
    function.__name__: function
    for function in (
        large_final,
        squared_final,
        small_final,
        random,
        large_init,
        small_init,
        large_init_large_final,
        small_init_small_final,
        large_final_same_sign,
        magnitude_increase,
        movement,
        movmag,
        updating_magnitude_increase,
        updating_movement,
        updating_movmag,
    )
}
