"""Ranking: which groups have the lowest scores, found by selection.

A selected threshold takes one pass over memory where a sort takes dozens. Groups that an earlier mask pruned rank
lowest, then by score, then by index: the order of a stable sort.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def kth_smallest(values: Tensor, k: int) -> Tensor:
    """The k-th smallest value of a tensor, k from 1; on the CPU by numpy, which selects ten times as fast as torch."""
    if values.device.type != "cpu":
        return values.flatten().sort().values[k - 1]
    exact = values if values.dtype in (torch.float32, torch.float64) else values.float()  # numpy has no bfloat16
    return torch.tensor(np.partition(exact.flatten().numpy(), k - 1)[k - 1])


def select_lowest(scores: Tensor, count: int, candidates: Tensor | None = None) -> Tensor:
    """A mask that is true at the `count` lowest of `scores`, or of its `candidates`; of equal scores the first by index
    are selected."""
    if count == 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    values = scores if candidates is None else scores.masked_fill(~candidates, torch.inf)
    threshold = kth_smallest(values, count)
    selected = scores <= threshold
    if candidates is not None:
        selected &= candidates
    extra = int(selected.count_nonzero()) - count
    if extra:
        ties = selected & (scores == threshold)
        selected[ties.nonzero()[-extra:].unbind(1)] = False
    return selected


def keep_highest(scores: Tensor, count: int, kept: Tensor | None = None) -> Tensor:
    """A mask that is false at the `count` groups that rank lowest: those that are not `kept`, then by score, then by
    index."""
    pruned = 0 if kept is None else kept.numel() - int(kept.count_nonzero())
    if kept is None or pruned == 0:
        return ~select_lowest(scores, count)
    if count < pruned:
        return ~select_lowest(scores, count, ~kept)
    return kept & ~select_lowest(scores, count - pruned, kept)


def keep_highest_of_blocks(scores: Tensor, count: int, kept: Tensor | None = None) -> Tensor:
    """`keep_highest` within each block of scores [block, ...], whose members lie along the first dimension: a group's
    rank is the number of members that rank before it."""
    block = len(scores)
    ranks = torch.zeros_like(scores, dtype=torch.int16)
    for later in range(block):
        for earlier in range(later):
            before = scores[earlier] <= scores[later]
            if kept is not None:
                before = torch.where(kept[earlier] == kept[later], before, kept[later])
            ranks[later] += before
            ranks[earlier] += ~before
    return ranks >= count


def keep_percent(
    scores: Sequence[Tensor], sizes: Sequence[int], sparsity: float, round_to: int, kept: Sequence[Tensor] = ()
) -> list[Tensor]:
    """Prune to `sparsity` percent of the weights of all vectors, ranked together.

    Args:
        scores: per tensor, one score per group.
        sizes: per tensor, the number of weights in a group.
        round_to: each tensor keeps a multiple of this number of groups.
        kept: per tensor, which groups earlier masks kept; empty without earlier masks.
    """
    pool, pool_kept = torch.cat(list(scores)), torch.cat(list(kept)) if kept else None
    counts = [len(values) for values in scores]
    count = round(sparsity / 100 * len(pool))
    if len(set(sizes)) > 1:
        group_sizes = torch.tensor(sizes).repeat_interleave(torch.tensor(counts))
        count = count_nearest(group_sizes[rank(pool, pool_kept).cpu()], sparsity)
    masks = list(torch.split(keep_highest(pool, count, pool_kept), counts))
    if round_to > 1:
        for i, (values, n) in enumerate(zip(scores, counts, strict=True)):
            pruned = n - round_kept(int(masks[i].count_nonzero()), n, round_to)
            masks[i] = keep_highest(values, pruned, kept[i] if kept else None)
    return masks


def rank(scores: Tensor, kept: Tensor | None) -> Tensor:
    """The groups' indices, the lowest first, by sorting: the sum of sizes up to each group needs the whole order."""
    order = scores.argsort(stable=True)
    return order if kept is None else torch.cat([order[~kept[order]], order[kept[order]]])


def count_nearest(sizes: Tensor, sparsity: float) -> int:
    """The number of groups, taken in order, whose sizes sum to the nearest to `sparsity` percent of all weights. Of
    two equally near counts the even one is taken, as `round` does for groups of equal size."""
    removed = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]).double()
    target = sparsity / 100 * float(removed[-1])
    low = int((removed <= target).sum()) - 1
    high = min(low + 1, len(sizes))
    gap_low, gap_high = target - float(removed[low]), float(removed[high]) - target
    return low if gap_low < gap_high or (gap_low == gap_high and low % 2 == 0) else high


def round_kept(kept: int, count: int, multiple: int) -> int:
    """The positive multiple nearest to `kept`, at most `count`; a tie rounds up. A tensor that keeps all its `count`
    groups, or has fewer than one multiple, keeps them all."""
    if kept == count or count < multiple:
        return count
    nearest = (2 * kept + multiple) // (2 * multiple) * multiple
    return max(multiple, min(nearest, count - count % multiple))
