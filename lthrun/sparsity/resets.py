"""Resets: what the weights go back to when a level begins (Zhou et al. 2019, section 4).

A new rule is one function here and one line in `KEPT`. A tensor's initial values, values drawn anew, its mask and a
generator come in; the values of its kept weights come out, in the tensor's shape.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator, Tensor


def rewind(initial: Tensor, redrawn: Tensor, mask: Tensor, draw: Generator) -> Tensor:
    """The values of the rewind point."""
    return initial


def redraw(initial: Tensor, redrawn: Tensor, mask: Tensor, draw: Generator) -> Tensor:
    """A new draw of the initialisation, as are then all parameters of the network."""
    return redrawn


def shuffle(initial: Tensor, redrawn: Tensor, mask: Tensor, draw: Generator) -> Tensor:
    """The initial values of the kept weights, in another order within the tensor."""
    import torch

    kept = initial[mask]
    shuffled = initial.clone()
    shuffled[mask] = kept[torch.randperm(len(kept), generator=draw)]
    return shuffled


def sign_constant(initial: Tensor, redrawn: Tensor, mask: Tensor, draw: Generator) -> Tensor:
    """The initial sign times the standard deviation of the tensor's initial values."""
    return initial.sign() * initial.std(correction=0)


Reset = Callable[["Tensor", "Tensor", "Tensor", "Generator"], "Tensor"]
KEPT: dict[str, Reset] = {function.__name__: function for function in (rewind, redraw, shuffle, sign_constant)}
PRUNED: dict[str, str] = {
    "zero": "Zero, always.",
    "frozen": "Their initial value, never trained.",
}
