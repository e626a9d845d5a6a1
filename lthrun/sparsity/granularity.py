"""Granularities: what is pruned as one, as the dimensions of the weight that a group spans.

A convolution's weight has shape [out, in, height, width], a linear layer's [out, in]; a group's score is the mean of
its members' scores. A new granularity is one line in `GRANULARITIES`. Beside them stands `n:m`: of every m consecutive
input channels at one place, n weights stay (Mishra et al. 2021: 2:4 is what NVIDIA's sparse tensor cores want).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lthrun.errors import UserError

Dims = tuple[int, ...]


@dataclass(frozen=True)
class Granularity:
    """The dimensions a group spans, of a convolution's weight and of a linear layer's; None: not defined for it."""

    about: str
    conv: Dims
    linear: Dims | None = None


GRANULARITIES: dict[str, Granularity] = {
    "weight": Granularity("Each weight by itself.", (), ()),
    "row": Granularity("The weights of a kernel's row; of a linear layer, those of one output.", (3,), (1,)),
    "column": Granularity("The weights of a kernel's column; of a linear layer, those of one input.", (2,), (0,)),
    "channel": Granularity("The weights at one place of a filter's kernels, through all input channels.", (1,)),
    "kernel": Granularity("One filter's weights for one input channel.", (2, 3)),
    "filter": Granularity("Everything that makes one output channel, bias and batch norm included.", (1, 2, 3)),
    "vertical_slice": Granularity("A filter's columns at one place, through all input channels.", (1, 2)),
    "horizontal_slice": Granularity("A filter's rows at one place, through all input channels.", (1, 3)),
    "shared_weight": Granularity("A weight's place, in all filters at once.", (0,)),
    "shared_row": Granularity("A row's place, in all filters at once.", (0, 3)),
    "shared_column": Granularity("A column's place, in all filters at once.", (0, 2)),
    "shared_channel": Granularity("A place of the kernel, in all filters and input channels at once.", (0, 1)),
    "shared_kernel": Granularity("One input channel, in all filters at once.", (0, 2, 3)),
    "shared_vertical_slice": Granularity("A column of the kernel, in all filters and input channels.", (0, 1, 2)),
    "shared_horizontal_slice": Granularity("A row of the kernel, in all filters and input channels.", (0, 1, 3)),
    "layer": Granularity("The whole tensor; for context: global.", (0, 1, 2, 3), (0, 1)),
}
STRUCTURED = frozenset({"filter", "layer"})  # these take whole output channels


def spanned(granularity: str, name: str, ndim: int) -> Dims:
    """The dimensions a group of the tensor `name` spans.

    Raises:
        UserError: the granularity is not defined for a tensor of `ndim` dimensions.
    """
    found = GRANULARITIES[granularity]
    dims = found.conv if ndim == 4 else found.linear
    if dims is None:
        known = ", ".join(n for n, g in GRANULARITIES.items() if g.linear is not None)
        raise UserError(
            f"pruning.granularity: found {granularity}; {name} is of a linear layer, which has {known} and n:m: "
            "choose one of these, or leave it out with pruning.exclude"
        )
    return dims


def n_of_m(granularity: str) -> tuple[int, int] | None:
    """(2, 4) for `2:4`; None for the granularities with a name."""
    found = re.fullmatch(r"(\d{1,4}):(\d{1,4})", granularity)
    return (int(found[1]), int(found[2])) if found else None
