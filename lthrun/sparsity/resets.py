"""Resets: what the weights go back to when a level begins (Zhou et al. 2019, section 4).

A new rule is one registered function. A tensor's initial values, values drawn anew, its mask and a
generator come in; the values of its kept weights come out, in the tensor's shape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lthrun.registry import Entry, Table

if TYPE_CHECKING:
    from torch import Generator, Tensor

RESETS = Table("resets", "rewind.kept", Entry)
PRUNED = Table("pruned", "rewind.pruned", Entry)
PRUNED.add("zero", "Zero, always.")
PRUNED.add("frozen", "Their initial value, never trained.")


@RESETS.register("The values of the rewind point.")
def rewind(initial: Tensor, redrawn: Tensor, mask: Tensor, draw: Generator) -> Tensor:
    return initial


@RESETS.register("A new draw of the initialisation, as are then all parameters of the network.")
def redraw(initial: Tensor, redrawn: Tensor, mask: Tensor, draw: Generator) -> Tensor:
    return redrawn


@RESETS.register("The initial values of the kept weights, in another order within the tensor.")
def shuffle(initial: Tensor, redrawn: Tensor, mask: Tensor, draw: Generator) -> Tensor:
    import torch

    kept = initial[mask]
    shuffled = initial.clone()
    shuffled[mask] = kept[torch.randperm(len(kept), generator=draw)]
    return shuffled


@RESETS.register("The initial sign times the standard deviation of the tensor's initial values.")
def sign_constant(initial: Tensor, redrawn: Tensor, mask: Tensor, draw: Generator) -> Tensor:
    return initial.sign() * initial.std(correction=0)
