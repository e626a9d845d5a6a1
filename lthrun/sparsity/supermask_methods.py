"""Supermask methods: how a mask for untrained weights is obtained. A new method is one registered function.

A method that learns its mask is a module that parametrizes a weight: it has `scores` to train and a `mask()`. The
modules are in `supermasks.py`, which imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lthrun.registry import Entry, Table

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from lthrun.sparsity.supermasks import Bernoulli, EdgePopup

SUPERMASKS = Table("supermasks", "supermask.method", Entry)
SUPERMASKS.add("lth", "The ticket's mask, made from trained weights (Zhou et al. 2019, section 5).")


@SUPERMASKS.register(
    "Learned scores, fixed weights; the highest scores of each layer are kept (Ramanujan et al. 2020).",
    name="edge-popup",
    uses=("sparsity",),
)
def edge_popup(weight: Tensor, kept: int, rng: Generator) -> EdgePopup:
    from lthrun.sparsity.supermasks import EdgePopup

    return EdgePopup(weight, kept, rng)


@SUPERMASKS.register("Each weight is kept with a learned probability (Zhou et al. 2019, section 5.2).")
def bernoulli(weight: Tensor, kept: int, rng: Generator) -> Bernoulli:
    from lthrun.sparsity.supermasks import Bernoulli

    return Bernoulli(weight, rng)
