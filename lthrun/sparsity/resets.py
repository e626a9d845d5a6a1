"""Resets: the values that weights are set to at the start of a level (Zhou et al. 2019, section 4).

A new rule is one registered function of a tensor's initial values, newly drawn values, its mask and a generator; it
returns the values of the kept weights, in the tensor's shape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lthrun.registry import Entry, Table

if TYPE_CHECKING:
    from torch import Generator, Tensor

RESETS = Table("resets", "rewind.kept", Entry)
PRUNED = Table("pruned", "rewind.pruned", Entry)
PRUNED.add("zero", "Zero.")
PRUNED.add("frozen", "Their initial value, frozen.")


@RESETS.register("The values at the rewind point.")
def rewind(initial: Tensor, redrawn: Tensor, mask: Tensor, rng: Generator) -> Tensor:
    return initial


@RESETS.register("A new random initialization, of all parameters of the network.")
def redraw(initial: Tensor, redrawn: Tensor, mask: Tensor, rng: Generator) -> Tensor:
    return redrawn


@RESETS.register("The initial values of the kept weights, shuffled within the tensor.")
def shuffle(initial: Tensor, redrawn: Tensor, mask: Tensor, rng: Generator) -> Tensor:
    import torch

    kept = initial[mask]
    shuffled = initial.clone()
    shuffled[mask] = kept[torch.randperm(len(kept), generator=rng)]
    return shuffled


@RESETS.register("The initial sign times the standard deviation of the tensor's initial values.")
def sign_constant(initial: Tensor, redrawn: Tensor, mask: Tensor, rng: Generator) -> Tensor:
    return initial.sign() * initial.std(correction=0)
