"""How sparse each layer of the tickets is, and how many weights two masks share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lthrun.analysis.study_records import LayerSparsity, MaskOverlap, OverlapKind
from lthrun.records import LayerCounts

if TYPE_CHECKING:
    from torch import Tensor

Masks = Mapping[str, "Tensor"]


def summarize_layers(sparsity: float, counts: Sequence[LayerCounts]) -> list[LayerSparsity]:
    """Percent pruned per layer over the seeds, from the counts of each seed; `sparsity` is percent of all layers."""
    rows = []
    for name, (_, total) in counts[0].items():
        shares = [100 * of_seed[name][0] / total for of_seed in counts]
        rows.append(
            LayerSparsity(
                sparsity=sparsity,
                layer=name.removesuffix(".weight"),
                pruned=sum(shares) / len(shares),
                lowest=min(shares),
                highest=max(shares),
                total=total,
            )
        )
    return rows


def measure_overlap(sparsity: float, kind: OverlapKind, pairs: Sequence[tuple[Masks, Masks]]) -> MaskOverlap:
    """Overlap of pairs of masks, each boolean tensors by name; `kind` says what a pair is."""
    shares = [share_in_common(one, other) for one, other in pairs]
    return MaskOverlap(
        sparsity=sparsity,
        kind=kind,
        pairs=len(pairs),
        overlap=sum(shares) / len(shares),
        lowest=min(shares),
        highest=max(shares),
        chance=sum(chance_in_common(one, other) for one, other in pairs) / len(pairs),
    )


def share_in_common(one: Masks, other: Masks) -> float:
    """Weights that both masks keep, as a share of those that either keeps: intersection over union, all layers."""
    both = sum(int((one[name] & other[name]).sum()) for name in one)
    either = sum(int((one[name] | other[name]).sum()) for name in one)
    return both / either


def chance_in_common(one: Masks, other: Masks) -> float:
    """The same for random positions of equal per-layer density: expected intersection over expected union.

    Of n positions of which the masks keep a and b, these are ab / n and a + b − ab / n.
    """
    both, either = 0.0, 0.0
    for name, mask in one.items():
        n, a, b = mask.numel(), int(mask.sum()), int(other[name].sum())
        both += a * b / n
        either += a + b - a * b / n
    return both / either
