"""Masks by full stable sorts of float64: slow, and so plain that it is the definition `make_masks` is tested by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lthrun.config.fields import parse_n_of_m
from lthrun.sparsity.granularities import group_dims

Tensors = dict[str, Tensor]


def sorted_masks(
    scores: Tensors,
    sparsity: float | Mapping[str, float],
    granularity: str = "weight",
    context: str = "local",
    previous: Tensors | None = None,
    round_to: int = 1,
) -> Tensors:
    """What `make_masks` must return where it refuses nothing."""
    targets = sparsity if isinstance(sparsity, Mapping) else dict.fromkeys(scores, sparsity)
    kept = previous or {name: torch.ones_like(score, dtype=torch.bool) for name, score in scores.items()}
    pattern = parse_n_of_m(granularity)
    if pattern:
        return {name: sorted_blocks(scores[name], kept[name], targets[name], pattern[1]) for name in scores}
    masks: Tensors = {}
    for pool in [[name] for name in scores] if context == "local" else [list(scores)]:
        masks |= sorted_pool(pool, scores, kept, targets[pool[0]], granularity, round_to)
    return masks


def sorted_pool(
    pool: Sequence[str], scores: Tensors, kept: Tensors, sparsity: float, granularity: str, round_to: int
) -> Tensors:
    """Tensors ranked together: sorted by score, then stably by whether they were kept before."""
    dims = {name: group_dims(granularity, name, scores[name].ndim) for name in pool}
    groups = {n: scores[n].double().mean(dims[n], keepdim=True) if dims[n] else scores[n].double() for n in pool}
    kept_groups = {n: kept[n].any(dims[n], keepdim=True) if dims[n] else kept[n] for n in pool}
    counts = [groups[n].numel() for n in pool]
    sizes = torch.cat([torch.full((k,), scores[n].numel() // k) for n, k in zip(pool, counts, strict=True)])
    order = torch.cat([groups[n].flatten() for n in pool]).argsort(stable=True)
    order = order[torch.cat([kept_groups[n].flatten() for n in pool])[order].argsort(stable=True)]
    keep = torch.ones(len(order), dtype=torch.bool)
    keep[order[: nearest_count(sizes[order].tolist(), sparsity)]] = False
    masks: Tensors = {}
    for name, count, end in zip(pool, counts, torch.tensor(counts).cumsum(0).tolist(), strict=True):
        part = keep[end - count : end]
        if round_to > 1:
            own = order[(order >= end - count) & (order < end)] - (end - count)
            part = torch.ones(count, dtype=torch.bool)
            part[own[: count - nearest_multiple(int(keep[end - count : end].sum()), count, round_to)]] = False
        masks[name] = part.view(groups[name].shape).expand(scores[name].shape).contiguous()
    return masks


def sorted_blocks(score: Tensor, kept: Tensor, sparsity: float, block: int) -> Tensor:
    """Of every `block` consecutive input channels the round(sparsity / 100 · block) lowest are pruned."""
    last = score.movedim(1, -1)
    blocks, kept_blocks = (t.movedim(1, -1).reshape(-1, block) for t in (score.double(), kept))
    order = blocks.argsort(dim=1, stable=True)
    order = order.gather(1, kept_blocks.gather(1, order).byte().argsort(dim=1, stable=True))
    keep = torch.ones_like(blocks, dtype=torch.bool)
    keep.scatter_(1, order[:, : round(sparsity / 100 * block)], False)
    return keep.view(last.shape).movedim(-1, 1).contiguous()


def nearest_count(sizes: list[int], sparsity: float) -> int:
    """How many groups to prune, the nearest to `sparsity` percent of the weights; of two as near the even one."""
    if len(set(sizes)) == 1:
        return round(sparsity / 100 * len(sizes))
    target = sparsity / 100 * sum(sizes)
    gaps = [abs(sum(sizes[:count]) - target) for count in range(len(sizes) + 1)]
    return min(range(len(gaps)), key=lambda count: (gaps[count], count % 2))


def nearest_multiple(kept: int, count: int, multiple: int) -> int:
    """Of the multiples that fit, from one up, the nearest to `kept`; of two as near the larger."""
    if kept == count or count < multiple:
        return count
    return min(range(multiple, count + 1, multiple), key=lambda value: (abs(value - kept), -value))
