"""Criteria: each scores a weight tensor elementwise; the lowest scores are pruned.

A new criterion is one function here and one line in `CRITERIA`. The arguments are the trained weights and
a generator for the criteria that draw; scores have the weights' shape.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator, Tensor


def large_final(trained: Tensor, draw: Generator) -> Tensor:
    """|w|: the largest trained magnitude stays (Frankle & Carbin 2019, section 2)."""
    return trained.abs()


def random(trained: Tensor, draw: Generator) -> Tensor:
    """Uniform noise: the control every other criterion has to beat."""
    return trained.new_empty(trained.shape).uniform_(generator=draw)


Criterion = Callable[["Tensor", "Generator"], "Tensor"]
CRITERIA: dict[str, Criterion] = {"large_final": large_final, "random": random}
