"""Granularities: what is pruned as one, as the dimensions of a convolution's weight that a group spans.

A weight has shape [out, in, height, width]; a group's score is the mean of its members' scores.
"""

GRANULARITIES: dict[str, tuple[int, ...]] = {
    "weight": (),
    "row": (3,),
    "column": (2,),
    "kernel": (2, 3),
    "channel": (1,),
    "filter": (1, 2, 3),
}
