"""Masks: one boolean tensor per prunable tensor; true keeps the weight.

A mask at s % removes exactly round(s / 100 · n) of n groups. Ties break by index. While s does not fall, a pruned
weight stays pruned.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NoReturn

import torch
from torch import Tensor

from lthrun.errors import UserError
from lthrun.sparsity.granularities import group_dims, parse_n_of_m

Tensors = dict[str, Tensor]


def make_masks(
    scores: Mapping[str, Tensor],
    sparsity: float | Mapping[str, float],
    granularity: str = "weight",
    context: str = "local",
    previous: Mapping[str, Tensor] | None = None,
    round_to: int = 1,
) -> Tensors:
    """The masks that prune the groups of the lowest `scores` to `sparsity` percent.

    Args:
        scores: one tensor per prunable tensor, of its shape.
        sparsity: percent of the groups to remove: of each tensor (`local`; may differ by name), or of all tensors
            together (`global`; groups count by their size, and the number removed is the nearest to the target).
        granularity: which weights are pruned together: a name of `GRANULARITIES`, or `n:m`.
        previous: earlier masks. Groups that they pruned rank lowest, so masks are nested while the sparsity does not
            fall; where it falls, the pruned groups of the highest scores are restored.
        round_to: each tensor keeps a multiple of this number of groups, the nearest to its count.

    Raises:
        UserError: a score is NaN, or a tensor would lose all its weights.
    """
    targets = sparsity if isinstance(sparsity, Mapping) else dict.fromkeys(scores, sparsity)
    for name, score in scores.items():
        if score.isnan().any():
            raise UserError(f"{name}: found NaN among its scores; weights that became NaN cannot be ranked")
    kept = previous or {name: torch.ones_like(score, dtype=torch.bool) for name, score in scores.items()}
    pattern = parse_n_of_m(granularity)
    if pattern:
        return {name: make_block_mask(name, scores[name], kept[name], targets[name], pattern[1]) for name in scores}
    masks: Tensors = {}
    for pool in [[name] for name in scores] if context == "local" else [list(scores)]:
        masks |= prune_lowest(pool, scores, kept, targets[pool[0]], granularity, round_to)
    for name, mask in masks.items():
        if not mask.any() and granularity != "layer":
            refuse_collapse(name, mask.numel(), f"weights ({context} context)", targets[name])
    if not any(mask.any() for mask in masks.values()):
        raise UserError(
            f"pruning.sparsity: found {max(targets.values()):g}; all layers would be pruned: use a lower sparsity"
        )
    return masks


def check_target(name: str, shape: tuple[int, ...], sparsity: float, granularity: str, round_to: int) -> None:
    """Refuse what `make_masks` would refuse for a tensor ranked by itself, as far as its shape decides.

    Raises:
        UserError: the granularity is not defined for it, or it would lose all its weights.
    """
    pattern = parse_n_of_m(granularity)
    if pattern:
        make_block_mask(name, torch.zeros(1, shape[1]), torch.ones(1, shape[1], dtype=torch.bool), sparsity, pattern[1])
        return
    dims = group_dims(granularity, name, len(shape))
    groups = math.prod(side for dim, side in enumerate(shape) if dim not in dims)
    if round_to == 1 and granularity != "layer" and round(sparsity / 100 * groups) >= groups:
        refuse_collapse(name, groups, f"groups (granularity {granularity})", sparsity)


def refuse_collapse(name: str, count: int, what: str, sparsity: float) -> NoReturn:
    raise UserError(
        f"pruning.sparsity: found {sparsity:g}; layer collapse, {name} would lose all its {count:,} {what}: use a "
        "lower sparsity, or exclude the layer with pruning.exclude"
    )


def prune_lowest(
    pool: Sequence[str],
    scores: Mapping[str, Tensor],
    kept: Mapping[str, Tensor],
    sparsity: float,
    granularity: str,
    round_to: int,
) -> Tensors:
    """Masks of the tensors of `pool`, ranked together: groups that `kept` has pruned first, then by score, then by
    index."""
    dims = {name: group_dims(granularity, name, scores[name].ndim) for name in pool}
    grouped = {n: scores[n].double().mean(dims[n], keepdim=True) if dims[n] else scores[n].double() for n in pool}
    kept_groups = {n: kept[n].any(dims[n], keepdim=True) if dims[n] else kept[n] for n in pool}
    counts = [grouped[n].numel() for n in pool]
    sizes = torch.cat([torch.full((k,), scores[n].numel() // k) for n, k in zip(pool, counts, strict=True)])
    order = torch.cat([grouped[n].flatten() for n in pool]).argsort(stable=True).cpu()
    order = order[torch.cat([kept_groups[n].flatten() for n in pool]).cpu()[order].argsort(stable=True)]
    keep = torch.ones(len(order), dtype=torch.bool)
    keep[order[: count_nearest(sizes[order], sparsity)]] = False
    masks: Tensors = {}
    ends = torch.tensor(counts).cumsum(0).tolist()
    for name, count, end in zip(pool, counts, ends, strict=True):
        part = keep[end - count : end]
        if round_to > 1:
            own = order[(order >= end - count) & (order < end)] - (end - count)
            part = torch.ones(count, dtype=torch.bool)
            part[own[: count - round_kept(int(keep[end - count : end].sum()), count, round_to)]] = False
        masks[name] = part.view(grouped[name].shape).expand(scores[name].shape).contiguous()
    return masks


def round_kept(kept: int, count: int, multiple: int) -> int:
    """The positive multiple nearest to `kept`, at most `count`; a tie rounds up. A tensor that keeps all its `count`
    groups, or has fewer than one multiple, keeps them all."""
    if kept == count or count < multiple:
        return count
    nearest = (2 * kept + multiple) // (2 * multiple) * multiple
    return max(multiple, min(nearest, count - count % multiple))


def make_block_mask(name: str, score: Tensor, kept: Tensor, sparsity: float, block: int) -> Tensor:
    """The mask that removes round(sparsity / 100 · block) of every `block` consecutive input channels."""
    if score.shape[1] % block:
        raise UserError(
            f"pruning.granularity: found n:{block}; {name} has {score.shape[1]} input channels, which is no multiple "
            f"of {block}: exclude the layer with pruning.first=false or pruning.exclude"
        )
    last = score.movedim(1, -1)
    blocks, kept_blocks = (t.movedim(1, -1).reshape(-1, block).cpu() for t in (score.double(), kept))
    order = blocks.argsort(dim=1, stable=True)
    order = order.gather(1, kept_blocks.gather(1, order).byte().argsort(dim=1, stable=True))
    keep = torch.ones_like(blocks, dtype=torch.bool)
    keep.scatter_(1, order[:, : round(sparsity / 100 * block)], False)
    return keep.view(last.shape).movedim(-1, 1).contiguous()


def count_nearest(sizes: Tensor, sparsity: float) -> int:
    """The number of groups, taken in order, whose sizes sum to the nearest to `sparsity` percent of all weights. Of
    two equally near counts the even one is taken, so that it is round(sparsity / 100 · n) for groups of equal size."""
    if bool((sizes == sizes[0]).all()):
        return round(sparsity / 100 * len(sizes))
    removed = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]).double()
    target = sparsity / 100 * float(removed[-1])
    low = int((removed <= target).sum()) - 1
    high = min(low + 1, len(sizes))
    gap_low, gap_high = target - float(removed[low]), float(removed[high]) - target
    return low if gap_low < gap_high or (gap_low == gap_high and low % 2 == 0) else high


def draw_random_masks(masks: Mapping[str, Tensor], rng: torch.Generator, granularity: str = "weight") -> Tensors:
    """Masks that keep as many groups of each tensor as `masks`, chosen at random: the control for every mask."""
    pattern = parse_n_of_m(granularity)
    drawn: Tensors = {}
    for name, mask in masks.items():
        if pattern:
            noise = torch.rand(mask.shape, generator=rng)
            drawn[name] = make_block_mask(name, noise, torch.ones_like(mask), masked_sparsity({name: mask}), pattern[1])
            continue
        dims = group_dims(granularity, name, mask.ndim)
        groups = mask.any(dims, keepdim=True) if dims else mask
        order = torch.randperm(groups.numel(), generator=rng)
        drawn[name] = groups.flatten()[order].view(groups.shape).expand(mask.shape).contiguous()
    return drawn


@torch.no_grad()
def apply_masks(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], frozen: Mapping[str, Tensor] = {}) -> None:
    """Set the pruned weights to +0, or to their value in `frozen`, in place; also those that are NaN or infinite."""
    for name, mask in masks.items():
        pruned = ~mask.to(weights[name].device)
        if name in frozen:
            weights[name].copy_(torch.where(pruned, frozen[name].to(weights[name].device), weights[name]))
        else:
            weights[name].masked_fill_(pruned, 0.0)


class MaskHook:
    """Sets pruned weights to zero, or to their value in `frozen`, after every step of `optimizer`, until `remove()`."""

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        masks: Mapping[str, Tensor],
        optimizer: torch.optim.Optimizer,
        frozen: Mapping[str, Tensor] = {},
    ):
        apply_masks(weights, masks, frozen)
        self.weights = [weights[name] for name in masks]
        with torch.no_grad():
            self.kept = [torch.ones_like(weights[n]).mul_(mask.to(weights[n].device)) for n, mask in masks.items()]
            # Multiply and add are exact: of the two terms one is the weight and the other is zero.
            self.added = [
                torch.zeros_like(weights[n]).copy_(frozen[n].masked_fill(masks[n], 0.0)) for n in masks if n in frozen
            ]
        self._handle = optimizer.register_step_post_hook(lambda *_: self.apply())

    @torch.no_grad()
    def apply(self) -> None:
        torch._foreach_mul_(self.weights, self.kept)
        if self.added:
            torch._foreach_add_(self.weights, self.added)

    def remove(self) -> None:
        """Stop masking."""
        self._handle.remove()


def masked_sparsity(masks: Mapping[str, Tensor]) -> float:
    """Percent of the weights that the masks remove. Biases and batch norm of pruned filters do not count."""
    weights = [mask for mask in masks.values() if mask.ndim > 1]
    return counted_sparsity({str(i): [int((~mask).sum()), mask.numel()] for i, mask in enumerate(weights)})


@torch.no_grad()
def count_pruned(
    weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], frozen: Mapping[str, Tensor] = {}
) -> dict[str, list[int]]:
    """Per tensor, the number of weights that are masked and are zero (or at their frozen value), and of all weights.

    Counted on the weights: a masked weight that is not zero does not count, nor does an unmasked one that is zero.
    """
    counts = {}
    for name, weight in weights.items():
        value = frozen[name].to(weight.device) if name in frozen else 0
        pruned = int(((weight == value) & ~masks[name].to(weight.device)).sum()) if name in masks else 0
        counts[name] = [pruned, weight.numel()]
    return counts


def counted_sparsity(counts: Mapping[str, Sequence[int]]) -> float:
    """Percent of the weights counted by `count_pruned` that are pruned."""
    total = sum(n for _, n in counts.values())
    return 100 * sum(pruned for pruned, _ in counts.values()) / total if total else 0.0
