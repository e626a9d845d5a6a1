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

from lthrun.config.fields import parse_n_of_m
from lthrun.errors import UserError
from lthrun.sparsity import ranking
from lthrun.sparsity.granularities import group_dims

Tensors = dict[str, Tensor]


def make_masks(
    scores: Mapping[str, Tensor],
    sparsity: float | Mapping[str, float],
    granularity: str = "weight",
    context: str = "local",
    previous: Mapping[str, Tensor] | None = None,
    round_to: int = 1,
    may_empty: bool = False,
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
        may_empty: whether a tensor may lose all its weights, as it may where whole layers are pruned.

    Raises:
        UserError: a score is NaN, or a tensor would lose all its weights, or all tensors would.
    """
    targets = sparsity if isinstance(sparsity, Mapping) else dict.fromkeys(scores, sparsity)
    kept = {name: previous[name].to(score.device) for name, score in scores.items()} if previous else {}
    pattern = parse_n_of_m(granularity)
    if pattern:
        return {n: make_block_mask(n, score, targets[n], pattern[1], kept.get(n)) for n, score in scores.items()}
    masks: Tensors = {}
    for pool in [[name] for name in scores] if context == "local" else [list(scores)]:
        masks |= rank_together({n: scores[n] for n in pool}, kept, targets[pool[0]], granularity, round_to)
    for name, mask in masks.items():
        if not (may_empty or granularity == "layer" or mask.any()):
            refuse_collapse(name, mask.numel(), f"weights ({context} context)", targets[name])
    if not any(mask.any() for mask in masks.values()):
        raise UserError(
            f"pruning.sparsity: found {max(targets.values()):g}; all layers would be pruned: use a lower sparsity"
        )
    return masks


def rank_together(
    scores: Mapping[str, Tensor], kept: Mapping[str, Tensor], sparsity: float, granularity: str, round_to: int
) -> Tensors:
    """The masks of tensors that are ranked together; groups that are not `kept` rank lowest."""
    dims = {name: group_dims(granularity, name, score.ndim) for name, score in scores.items()}
    groups = {n: score.double().mean(dims[n], keepdim=True) if dims[n] else score for n, score in scores.items()}
    kept_groups = [kept[n].any(dims[n], keepdim=True) if dims[n] else kept[n] for n in scores if kept]
    for name, group in groups.items():
        check_scores(name, group)
    masks = ranking.keep_percent(
        [group.flatten() for group in groups.values()],
        [score.numel() // groups[name].numel() for name, score in scores.items()],
        sparsity,
        round_to,
        [group.flatten() for group in kept_groups],
    )
    return {
        name: mask.view(groups[name].shape).expand(scores[name].shape).contiguous()
        for name, mask in zip(scores, masks, strict=True)
    }


def check_target(name: str, shape: tuple[int, ...], sparsity: float, granularity: str, round_to: int) -> None:
    """Refuse what `make_masks` would refuse for a tensor ranked by itself, as far as its shape decides.

    Raises:
        UserError: the granularity is not defined for it, or it would lose all its weights.
    """
    pattern = parse_n_of_m(granularity)
    if pattern:
        check_blocks(name, shape[1], pattern[1])
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


def make_block_mask(name: str, score: Tensor, sparsity: float, block: int, kept: Tensor | None = None) -> Tensor:
    """The mask that removes round(sparsity / 100 · block) of every `block` consecutive input channels."""
    check_scores(name, score)
    check_blocks(name, score.shape[1], block)

    def members(tensor: Tensor) -> Tensor:
        return tensor.reshape(len(tensor), -1, block, *tensor.shape[2:]).movedim(2, 0).contiguous()

    pruned = round(sparsity / 100 * block)
    keep = ranking.keep_highest_of_blocks(members(score), pruned, None if kept is None else members(kept))
    return keep.movedim(0, 2).reshape(score.shape).contiguous()


def check_scores(name: str, scores: Tensor) -> None:
    if scores.amin().isnan():
        raise UserError(f"{name}: found NaN among its scores; weights that became NaN cannot be ranked")


def check_blocks(name: str, channels: int, block: int) -> None:
    if channels % block:
        raise UserError(
            f"pruning.granularity: found n:{block}; {name} has {channels} input channels, which is no multiple of "
            f"{block}: exclude the layer with pruning.first=false or pruning.exclude"
        )


def draw_random_masks(masks: Mapping[str, Tensor], rng: torch.Generator, granularity: str = "weight") -> Tensors:
    """Masks that keep as many groups of each tensor as `masks`, chosen at random: the control for every mask.

    The groups of the lowest uniform noise are pruned. `rng` is a CPU generator, so the masks are the same on every
    device.
    """
    pattern = parse_n_of_m(granularity)
    drawn: Tensors = {}
    for name, mask in masks.items():
        dims = () if pattern else group_dims(granularity, name, mask.ndim)
        groups = mask.any(dims, keepdim=True) if dims else mask
        noise = torch.rand(groups.shape, generator=rng)
        if pattern:
            keep = make_block_mask(name, noise, masked_sparsity({name: mask}), pattern[1])
        else:
            keep = ranking.keep_highest(noise, groups.numel() - int(groups.count_nonzero()))
        drawn[name] = keep.expand(mask.shape).contiguous().to(mask.device)
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


@torch.no_grad()
def make_factor(weight: Tensor, mask: Tensor) -> Tensor:
    """The mask as 0 and 1 of the weight's dtype, device and layout: a product is several times as fast as filling."""
    return torch.ones_like(weight).mul_(mask.to(weight.device))


@torch.no_grad()
def make_summand(weight: Tensor, mask: Tensor, frozen: Tensor) -> Tensor:
    """The frozen values of the pruned weights, and 0 elsewhere. To multiply and add is exact: of the two terms one is
    the value and the other is zero."""
    return torch.zeros_like(weight).copy_(frozen.masked_fill(mask, 0.0))


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
        self.kept = [make_factor(weights[name], mask) for name, mask in masks.items()]
        self.added = [make_summand(weights[name], mask, frozen[name]) for name, mask in masks.items() if name in frozen]
        self._handle = optimizer.register_step_post_hook(lambda *_: self.apply())

    @torch.no_grad()
    def apply(self) -> None:
        torch._foreach_mul_(self.weights, self.kept)
        if self.added:
            torch._foreach_add_(self.weights, self.added)

    def remove(self) -> None:
        self._handle.remove()


def masked_sparsity(masks: Mapping[str, Tensor]) -> float:
    """Percent of the weights that the masks remove. Biases and batch norm of pruned filters do not count."""
    return counted_sparsity(count_masked({name: mask for name, mask in masks.items() if mask.ndim > 1}))


def count_masked(masks: Mapping[str, Tensor]) -> dict[str, tuple[int, int]]:
    """Per tensor, the number of weights that the mask removes, and of all weights."""
    return {name: (int((~mask).sum()), mask.numel()) for name, mask in masks.items()}


@torch.no_grad()
def count_pruned(
    weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], frozen: Mapping[str, Tensor] = {}
) -> dict[str, tuple[int, int]]:
    """Per tensor, the number of weights that are masked and are zero (or at their frozen value), and of all weights.

    Counted on the weights: a masked weight that is not zero does not count, nor does an unmasked one that is zero.
    """
    counts = {}
    for name, weight in weights.items():
        value = frozen[name].to(weight.device) if name in frozen else 0
        pruned = int(((weight == value) & ~masks[name].to(weight.device)).sum()) if name in masks else 0
        counts[name] = (pruned, weight.numel())
    return counts


def counted_sparsity(counts: Mapping[str, Sequence[int]]) -> float:
    """Percent of the weights counted by `count_pruned` or `count_masked` that are pruned."""
    total = sum(n for _, n in counts.values())
    return 100 * sum(pruned for pruned, _ in counts.values()) / total if total else 0.0
