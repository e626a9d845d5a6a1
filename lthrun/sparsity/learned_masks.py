"""The modules that turn scores into a mask in every forward pass.

The gradient reaches the scores by the straight-through estimator (Bengio et al. 2013).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lthrun.sparsity.ranking import keep_highest

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
