"""Granularities: what is pruned as one, as the dimensions of the weight that a group spans.

A convolution's weight has shape [out, in, height, width], a linear layer's [out, in]; a group's score is the mean of
its members' scores. A new granularity is one line in `GRANULARITIES`. Beside them stands `n:m`: of every m consecutive
input channels at one place, n weights stay (Mishra et al. 2021: 2:4 is what NVIDIA's sparse tensor cores want).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lthrun.errors import UserError
from lthrun.registry import Entry, Table

Dims = tuple[int, ...]


@dataclass(frozen=True)
class GranularityEntry(Entry):
    """The dimensions a group spans, of a convolution's weight and of a linear layer's (None: not defined for it);
    a `structured` one takes whole output channels."""

    conv: Dims = ()
    linear: Dims | None = None
    structured: bool = False


GRANULARITIES = Table("granularities", "pruning.granularity", GranularityEntry)
GRANULARITIES.add("weight", "Each weight by itself.", conv=(), linear=())
GRANULARITIES.add(
    "row", "The weights of a kernel's row; of a linear layer, those of one output.", conv=(3,), linear=(1,)
)
GRANULARITIES.add(
    "column", "The weights of a kernel's column; of a linear layer, those of one input.", conv=(2,), linear=(0,)
)
GRANULARITIES.add("channel", "The weights at one place of a filter's kernels, through all input channels.", conv=(1,))
GRANULARITIES.add("kernel", "One filter's weights for one input channel.", conv=(2, 3))
GRANULARITIES.add(
    "filter", "Everything that makes one output channel, bias and batch norm included.", conv=(1, 2, 3), structured=True
)
GRANULARITIES.add("vertical_slice", "A filter's columns at one place, through all input channels.", conv=(1, 2))
GRANULARITIES.add("horizontal_slice", "A filter's rows at one place, through all input channels.", conv=(1, 3))
GRANULARITIES.add("shared_weight", "A weight's place, in all filters at once.", conv=(0,))
GRANULARITIES.add("shared_row", "A row's place, in all filters at once.", conv=(0, 3))
GRANULARITIES.add("shared_column", "A column's place, in all filters at once.", conv=(0, 2))
GRANULARITIES.add("shared_channel", "A place of the kernel, in all filters and input channels at once.", conv=(0, 1))
GRANULARITIES.add("shared_kernel", "One input channel, in all filters at once.", conv=(0, 2, 3))
GRANULARITIES.add("shared_vertical_slice", "A column of the kernel, in all filters and input channels.", conv=(0, 1, 2))
GRANULARITIES.add("shared_horizontal_slice", "A row of the kernel, in all filters and input channels.", conv=(0, 1, 3))
GRANULARITIES.add("layer", "The whole tensor; for context: global.", conv=(0, 1, 2, 3), linear=(0, 1), structured=True)


def group_dims(granularity: str, name: str, ndim: int) -> Dims:
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


def parse_n_of_m(granularity: str) -> tuple[int, int] | None:
    """(2, 4) for `2:4`; None for the granularities with a name."""
    found = re.fullmatch(r"(\d{1,4}):(\d{1,4})", granularity)
    return (int(found[1]), int(found[2])) if found else None


def is_structured(granularity: str) -> bool:
    """Whether it takes whole output channels, with which their biases and batch norm go."""
    entry = GRANULARITIES.get(granularity)
    return entry is not None and entry.structured
