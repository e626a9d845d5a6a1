"""Learned supermasks: scores are trained, weights are not.

Each masked weight gets a tensor of scores, which a torch parametrization turns into a mask in every forward pass. The
gradient reaches the scores by the straight-through estimator (Bengio et al. 2013).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lthrun.registry import TABLES
from lthrun.sparsity.masks import Tensors
from lthrun.sparsity.ranking import keep_highest

PARAMETRIZATION = ".parametrizations.weight."
# Standard deviation of bernoulli's initial scores. At 0 every weight is kept with probability 1/2, and sampling noise
# hides what can be learned.
INITIAL_DEVIATION = 3.0


class StraightThrough(torch.autograd.Function):
    """Forward: the 0/1 mask. Backward: the gradient of the mask is passed to the scores unchanged."""

    @staticmethod
    def forward(ctx: object, scores: Tensor, mask: Tensor) -> Tensor:
        return mask

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


class EdgePopup(nn.Module):
    """Keeps the `kept` weights with the largest |score| (Ramanujan et al. 2020, section 3)."""

    def __init__(self, weight: Tensor, kept: int, rng: torch.Generator):
        super().__init__()
        # As in the authors' code: Kaiming uniform with a = sqrt(5).
        bound = 1 / math.sqrt(weight[0].numel())
        self.scores = nn.Parameter(torch.empty(weight.shape).uniform_(-bound, bound, generator=rng))
        self.pruned = weight.numel() - kept

    def mask(self) -> Tensor:
        return keep_highest(self.scores.detach().abs(), self.pruned)

    def forward(self, weight: Tensor) -> Tensor:
        mask: Tensor = StraightThrough.apply(self.scores.abs(), self.mask().to(weight.dtype))
        return weight * mask


class Bernoulli(nn.Module):
    """Keeps a weight with probability sigmoid(score), drawn in every forward pass. Its mask keeps the weights whose
    probability is at least one half (Zhou et al. 2019, section 5.2)."""

    def __init__(self, weight: Tensor, rng: torch.Generator):
        super().__init__()
        self.scores = nn.Parameter(INITIAL_DEVIATION * torch.empty(weight.shape).normal_(generator=rng))

    def mask(self) -> Tensor:
        return self.scores.detach() >= 0

    def forward(self, weight: Tensor) -> Tensor:
        probabilities = self.scores.sigmoid()
        drawn = torch.rand_like(probabilities) < probabilities.detach()
        mask: Tensor = StraightThrough.apply(probabilities, drawn.to(weight.dtype))
        return weight * mask


@torch.no_grad()
def draw_supermask_weights(
    model: nn.Module, names: Iterable[str], kind: str, share: float, rng: torch.Generator
) -> None:
    """Set the weights of a supermask, in place: Kaiming normal with standard deviation σ = sqrt(2 / fan-in / share), or
    ±σ with random signs; `share` is the fraction that is kept (Ramanujan et al. 2020, sections 3 and 4.3)."""
    for name in names:
        weight = model.get_parameter(name)
        sigma = math.sqrt(2 / weight[0].numel() / share)
        noise = torch.empty(weight.shape).normal_(generator=rng)
        weight.copy_(sigma * (noise.sign() if kind == "signed_constant" else noise))


def make_learnable(model: nn.Module, names: Iterable[str], method: str, sparsity: float, rng: torch.Generator) -> None:
    """Freeze all parameters, batch norm included, and give each named weight scores to train, in place.

    `method` is a name in the table `supermasks`; `sparsity` is in percent.
    """
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for name in names:
        weight = model.get_parameter(name)
        kept = weight.numel() - round(sparsity / 100 * weight.numel())
        module = model.get_submodule(name.removesuffix(".weight"))
        parametrize.register_parametrization(
            module, "weight", TABLES["supermasks"][method](weight, kept, rng), unsafe=True
        )


def parametrizations(model: nn.Module) -> dict[str, EdgePopup | Bernoulli]:
    """The module that makes the mask of each masked weight, by the weight's name."""
    return {
        f"{name}.weight": module.parametrizations["weight"][0]
        for name, module in model.named_modules()
        if parametrize.is_parametrized(module, "weight")
    }


def masks(model: nn.Module) -> Tensors:
    """The masks learned so far, on the CPU and contiguous."""
    return {name: module.mask().cpu().contiguous() for name, module in parametrizations(model).items()}


def scores(model: nn.Module) -> Tensors:
    """The scores learned so far, on the CPU."""
    return {name: module.scores.detach().cpu().contiguous().clone() for name, module in parametrizations(model).items()}


def plain(state: Mapping[str, Tensor]) -> Tensors:
    """The state of a learnable model under the names of the model before `make_learnable`, without the scores."""
    return {
        name.replace(f"{PARAMETRIZATION}original", ".weight"): tensor
        for name, tensor in state.items()
        if PARAMETRIZATION not in name or name.endswith("original")
    }


def sample(scores: Mapping[str, Tensor], rng: torch.Generator) -> Tensors:
    """Draw masks that keep each weight with probability sigmoid(score)."""
    return {name: torch.bernoulli(score.sigmoid(), generator=rng).bool() for name, score in scores.items()}
