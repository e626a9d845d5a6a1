"""Supermasks that are learned: scores are trained, weights never.

Each masked weight gets a tensor of scores, which a parametrization of torch turns into a mask in every forward pass.
The gradient passes straight through the mask to the scores (Bengio et al. 2013).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lthrun.sparsity.masks import Tensors

MARK = ".parametrizations.weight."
# Deviation of the scores that bernoulli starts from. At 0 every weight is a coin toss, and the noise of the draws
# drowns what there is to learn.
SPREAD = 3.0


class Straight(torch.autograd.Function):
    """A 0/1 mask forward; backward, the gradient goes to the scores as if the mask were the scores."""

    @staticmethod
    def forward(ctx: object, scores: Tensor, mask: Tensor) -> Tensor:
        return mask

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def kth_smallest(values: Tensor, k: int) -> Tensor:
    """The k-th smallest of a vector; on the CPU by numpy, whose selection is up to ten times as fast as torch's."""
    if values.device.type != "cpu":
        return values.kthvalue(k).values
    return torch.tensor(np.partition(values.numpy(), k - 1)[k - 1])


class EdgePopup(nn.Module):
    """Keeps the `kept` weights of the largest |score| (Ramanujan et al. 2020, section 3)."""

    def __init__(self, weight: Tensor, kept: int, draw: torch.Generator):
        super().__init__()
        # As in the authors' code: Kaiming uniform with a = sqrt(5).
        bound = 1 / math.sqrt(weight[0].numel())
        self.scores = nn.Parameter(torch.empty(weight.shape).uniform_(-bound, bound, generator=draw))
        self.pruned = weight.numel() - kept

    def mask(self) -> Tensor:
        size = self.scores.detach().abs()
        if not self.pruned:
            return torch.ones_like(size, dtype=torch.bool)
        last = kth_smallest(size.flatten(), self.pruned)
        mask = size > last
        missing = mask.numel() - self.pruned - int(mask.sum())
        if missing:  # scores that are equal: the first of them by index are pruned
            mask[(size == last).nonzero()[-missing:].unbind(1)] = True
        return mask

    def forward(self, weight: Tensor) -> Tensor:
        mask: Tensor = Straight.apply(self.scores.abs(), self.mask().to(weight.dtype))
        return weight * mask


class Bernoulli(nn.Module):
    """Keeps a weight with probability sigmoid(score), drawn anew in every forward pass; the mask that is made of it
    keeps those of at least one half (Zhou et al. 2019, section 5.2)."""

    def __init__(self, weight: Tensor, kept: int, draw: torch.Generator):
        super().__init__()
        self.scores = nn.Parameter(SPREAD * torch.empty(weight.shape).normal_(generator=draw))

    def mask(self) -> Tensor:
        return self.scores.detach() >= 0

    def forward(self, weight: Tensor) -> Tensor:
        chance = self.scores.sigmoid()
        drawn = torch.rand_like(chance) < chance.detach()
        straight: Tensor = Straight.apply(chance, drawn.to(weight.dtype))
        return weight * straight


METHODS: dict[str, type[EdgePopup] | type[Bernoulli]] = {"edge-popup": EdgePopup, "bernoulli": Bernoulli}


@torch.no_grad()
def draw_supermask_weights(
    model: nn.Module, names: Iterable[str], kind: str, share: float, draw: torch.Generator
) -> None:
    """The weights of a supermask, in place: Kaiming normal, standard deviation σ = sqrt(2 / fan-in / share), or
    ± σ with random signs; `share` is the part that is kept (Ramanujan et al. 2020, sections 3 and 4.3)."""
    for name in names:
        weight = model.get_parameter(name)
        sigma = math.sqrt(2 / weight[0].numel() / share)
        drawn = torch.empty(weight.shape).normal_(generator=draw)
        weight.copy_(sigma * (drawn.sign() if kind == "signed_constant" else drawn))


def make_learnable(model: nn.Module, names: Iterable[str], method: str, sparsity: float, draw: torch.Generator) -> None:
    """Freeze all parameters, batch norm's included, and give each named weight scores to train, in place."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for name in names:
        weight = model.get_parameter(name)
        kept = weight.numel() - round(sparsity / 100 * weight.numel())
        module = model.get_submodule(name.removesuffix(".weight"))
        parametrize.register_parametrization(module, "weight", METHODS[method](weight, kept, draw), unsafe=True)


def parametrizations(model: nn.Module) -> dict[str, EdgePopup | Bernoulli]:
    """What makes the mask of each masked weight, by the weight's name."""
    return {
        f"{name}.weight": module.parametrizations["weight"][0]
        for name, module in model.named_modules()
        if parametrize.is_parametrized(module, "weight")
    }


def masks(model: nn.Module) -> Tensors:
    """The masks as learned so far, thresholded, on the CPU and contiguous."""
    return {name: made.mask().cpu().contiguous() for name, made in parametrizations(model).items()}


def scores(model: nn.Module) -> Tensors:
    """The scores as learned so far."""
    return {name: made.scores.detach().cpu().contiguous().clone() for name, made in parametrizations(model).items()}


def counts(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Per tensor, how many weights the mask removes, and how many there are."""
    return {name: (int((~mask).sum()), mask.numel()) for name, mask in masks(model).items()}


def plain(state: Mapping[str, Tensor]) -> Tensors:
    """A learnable model's state under the names of the model it was made from, without the scores."""
    return {
        name.replace(f"{MARK}original", ".weight"): tensor
        for name, tensor in state.items()
        if MARK not in name or name.endswith("original")
    }


def sample(scores: Mapping[str, Tensor], draw: torch.Generator) -> Tensors:
    """Masks drawn from sigmoid(score)."""
    return {name: torch.bernoulli(score.sigmoid(), generator=draw).bool() for name, score in scores.items()}
