"""Masks: one boolean tensor per prunable tensor, true where the weight stays.

A mask at s % removes exactly round(s / 100 · n) of n groups, ties broken by index, and never gives back
what an earlier mask took.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lthrun.errors import UserError
from lthrun.sparsity.granularity import GRANULARITIES

Tensors = dict[str, Tensor]


def make(
    scores: Mapping[str, Tensor],
    sparsity: float,
    granularity: str = "weight",
    context: str = "local",
    previous: Mapping[str, Tensor] | None = None,
) -> Tensors:
    """The masks that prune the lowest `scores` to `sparsity` percent.

    Args:
        scores: one tensor per prunable tensor, of its shape.
        sparsity: percent of the groups to remove: of each tensor (`local`) or of all together (`global`,
            where groups are weighted by their size and the count is the one nearest to the target).
        previous: earlier masks; what they pruned is pruned first, so masks are nested.

    Raises:
        UserError: a score is not a number, or a tensor would lose all its weights.
    """
    dims = GRANULARITIES[granularity]
    grouped = {}
    for name, score in scores.items():
        if score.isnan().any():
            raise UserError(f"{name}: its scores are not numbers (NaN), so it cannot be pruned")
        group = score.double().mean(dims, keepdim=True) if dims else score.double()
        if previous is not None:
            dead = ~(previous[name].any(dims, keepdim=True) if dims else previous[name])
            group = group.masked_fill(dead, -torch.inf)
        grouped[name] = group
    pools = [[name] for name in scores] if context == "local" else [list(scores)]
    masks: Tensors = {}
    for pool in pools:
        sizes = torch.cat([torch.full((grouped[n].numel(),), scores[n].numel() // grouped[n].numel()) for n in pool])
        order = torch.cat([grouped[n].flatten() for n in pool]).argsort(stable=True).cpu()
        keep = torch.ones(len(order), dtype=torch.bool)
        keep[order[: nearest_count(sizes[order], sparsity)]] = False
        for name, part in zip(pool, torch.split(keep, [grouped[n].numel() for n in pool]), strict=True):
            masks[name] = part.view(grouped[name].shape).expand(scores[name].shape).contiguous()
    for name, mask in masks.items():
        if not mask.any():
            raise UserError(f"{name}: all its {mask.numel():,} weights would be pruned; ask for less sparsity")
    return masks


def nearest_count(sizes: Tensor, sparsity: float) -> int:
    """How many of the groups, taken in order, come nearest to `sparsity` percent of all weights; a tie
    goes to the even count, which makes it round(sparsity / 100 · n) where all groups are of one size."""
    if bool((sizes == sizes[0]).all()):
        return round(sparsity / 100 * len(sizes))
    removed = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]).double()
    target = sparsity / 100 * float(removed[-1])
    low = int((removed <= target).sum()) - 1
    high = min(low + 1, len(sizes))
    gap_low, gap_high = target - float(removed[low]), float(removed[high]) - target
    return low if gap_low < gap_high or (gap_low == gap_high and low % 2 == 0) else high


@torch.no_grad()
def apply(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
    """Zero the pruned weights, in place. A pruned weight becomes +0 even where it was not finite."""
    for name, mask in masks.items():
        weights[name].masked_fill_(~mask.to(weights[name].device), 0.0)


class Hold:
    """Keeps pruned weights at zero after every step of `optimizer`, until `remove()` is called."""

    def __init__(self, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], optimizer: torch.optim.Optimizer):
        self.weights = [weights[name] for name in masks]
        with torch.no_grad():
            self.kept = [
                torch.ones_like(weights[name]).mul_(mask.to(weights[name].device)) for name, mask in masks.items()
            ]
        apply(weights, masks)
        self._handle = optimizer.register_step_post_hook(lambda *_: self.apply())

    @torch.no_grad()
    def apply(self) -> None:
        torch._foreach_mul_(self.weights, self.kept)

    def remove(self) -> None:
        """Let the pruned weights go."""
        self._handle.remove()


def pruned(masks: Mapping[str, Tensor]) -> float:
    """Percent of the weights that the masks remove."""
    kept = sum(int(mask.sum()) for mask in masks.values())
    return 100 * (1 - kept / sum(mask.numel() for mask in masks.values()))


def zeros(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, list[int]]:
    """Per tensor, how many weights are pruned and indeed zero, and how many there are.

    Counted on the weights, so a revived weight does not count; one that training happened to leave at
    exactly zero is not pruned and does not count either.
    """
    counts = {
        name: ((weight == 0) & ~masks[name].to(weight.device)).sum() if name in masks else 0
        for name, weight in weights.items()
    }
    return {name: [int(count), weights[name].numel()] for name, count in counts.items()}


def sparsity(counts: Mapping[str, Sequence[int]]) -> float:
    """Percent of all the weights counted by `zeros` that are zero."""
    total = sum(n for _, n in counts.values())
    return 100 * sum(zero for zero, _ in counts.values()) / total if total else 0.0
