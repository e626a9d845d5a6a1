"""Granularities: which weights are pruned together, given as the dimensions of the weight that a group spans.

A convolution's weight has shape [out, in, height, width], a linear layer's [out, in]; a group's score is the mean of
its members' scores. A new granularity is one entry of `GRANULARITIES`. The pattern `n:m` is not an entry: it keeps n of
every m consecutive input channels at each position (Mishra et al. 2021: NVIDIA's sparse tensor cores need 2:4).
"""

from __future__ import annotations

from dataclasses import dataclass

from lthrun.errors import UserError
from lthrun.registry import Entry, Table

Dims = tuple[int, ...]


@dataclass(frozen=True)
class GranularityEntry(Entry):
    """The dimensions that a group spans, of a convolution's weight and of a linear layer's (None: undefined for it);
    a `structured` granularity removes whole output channels."""

    conv: Dims = ()
    linear: Dims | None = None
    structured: bool = False


GRANULARITIES = Table("granularities", "pruning.granularity", GranularityEntry)
GRANULARITIES.add("weight", "Each weight by itself.", conv=(), linear=())
GRANULARITIES.add("row", "A row of a kernel; of a linear layer, the weights of one output.", conv=(3,), linear=(1,))
GRANULARITIES.add(
    "column", "A column of a kernel; of a linear layer, the weights of one input.", conv=(2,), linear=(0,)
)
GRANULARITIES.add("channel", "One position of a filter, across all input channels.", conv=(1,))
GRANULARITIES.add("kernel", "One filter's weights for one input channel.", conv=(2, 3))
GRANULARITIES.add(
    "filter", "All weights of one output channel, with its bias and batch norm.", conv=(1, 2, 3), structured=True
)
GRANULARITIES.add("vertical_slice", "One column of a filter, across all input channels.", conv=(1, 2))
GRANULARITIES.add("horizontal_slice", "One row of a filter, across all input channels.", conv=(1, 3))
GRANULARITIES.add("shared_weight", "One weight position, across all filters.", conv=(0,))
GRANULARITIES.add("shared_row", "One row of one input channel, across all filters.", conv=(0, 3))
GRANULARITIES.add("shared_column", "One column of one input channel, across all filters.", conv=(0, 2))
GRANULARITIES.add("shared_channel", "One kernel position, across all filters and input channels.", conv=(0, 1))
GRANULARITIES.add("shared_kernel", "One input channel, across all filters.", conv=(0, 2, 3))
GRANULARITIES.add("shared_vertical_slice", "One kernel column, across all filters and input channels.", conv=(0, 1, 2))
GRANULARITIES.add("shared_horizontal_slice", "One kernel row, across all filters and input channels.", conv=(0, 1, 3))
GRANULARITIES.add(
    "layer", "The whole tensor; needs context: global.", conv=(0, 1, 2, 3), linear=(0, 1), structured=True
)


def group_dims(granularity: str, name: str, ndim: int) -> Dims:
    """The dimensions that a group of the tensor `name` spans.

    Raises:
        UserError: the granularity is not defined for a tensor of `ndim` dimensions.
    """
    entry = GRANULARITIES[granularity]
    dims = entry.conv if ndim == 4 else entry.linear
    if dims is None:
        known = ", ".join(n for n, g in GRANULARITIES.items() if g.linear is not None)
        raise UserError(
            f"pruning.granularity: found {granularity}; {name} is of a linear layer, which supports {known} and n:m: "
            "choose one of these, or exclude the layer with pruning.exclude"
        )
    return dims
