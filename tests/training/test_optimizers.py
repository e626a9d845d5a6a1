"""Optimizers against their papers' formulas, written out in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from lthrun.config.sections import Training
from lthrun.training.optimizers import OPTIMIZERS, set_learning_rate

STEPS = 6


class Tracked:
    """Settings that note which of them are read."""

    def __init__(self, settings: Training):
        self.settings, self.read = settings, set[str]()

    def __getattr__(self, name: str) -> Any:
        self.read.add(name)
        return getattr(self.settings, name)


def run(settings: Training) -> tuple[Tensor, Tensor]:
    """A weight and a bias after some steps with fixed gradients, the learning rate falling."""
    model = nn.Linear(3, 2)
    with torch.no_grad():
        model.weight.copy_(torch.arange(6.0).view(2, 3) / 10)
        model.bias.copy_(torch.tensor([0.5, -0.5]))
    optimizer = OPTIMIZERS[settings.optimizer](model, settings)
    for step in range(STEPS):
        set_learning_rate(optimizer, rate_of(step))
        for parameter in model.parameters():
            parameter.grad = gradient_of(parameter, step).float()
        optimizer.step()
    return model.weight.detach(), model.bias.detach()


def rate_of(step: int) -> float:
    return 0.1 / (1 + step)


def gradient_of(parameter: Tensor, step: int) -> Tensor:
    return torch.linspace(-1, 2, parameter.numel(), dtype=torch.float64).view(parameter.shape) * (step - 2)


def adam_by_hand(start: Tensor, betas: tuple[float, float], eps: float, decay: float = 0.0) -> Tensor:
    x, first, second = start.double(), torch.zeros_like(start).double(), torch.zeros_like(start).double()
    for step in range(STEPS):
        gradient = gradient_of(x, step)
        first = betas[0] * first + (1 - betas[0]) * gradient
        second = betas[1] * second + (1 - betas[1]) * gradient**2
        bias_corrected = first / (1 - betas[0] ** (step + 1)), second / (1 - betas[1] ** (step + 1))
        x = x - rate_of(step) * decay * x - rate_of(step) * bias_corrected[0] / (bias_corrected[1].sqrt() + eps)
    return x


def sgd_by_hand(start: Tensor, momentum: float, nesterov: bool, decay: float) -> Tensor:
    x, velocity = start.double(), torch.zeros_like(start).double()
    for step in range(STEPS):
        gradient = gradient_of(x, step) + decay * x
        velocity = momentum * velocity + gradient
        x = x - rate_of(step) * (gradient + momentum * velocity if nesterov else velocity)
    return x


WEIGHT, BIAS = torch.arange(6.0).view(2, 3) / 10, torch.tensor([0.5, -0.5])


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_adamw_decays_weights_and_no_biases(decay: float):
    weight, bias = run(Training(optimizer="adamw", weight_decay=decay, eps=1e-3))
    torch.testing.assert_close(weight.double(), adam_by_hand(WEIGHT, (0.9, 0.99), 1e-3, decay), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(bias.double(), adam_by_hand(BIAS, (0.9, 0.99), 1e-3), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_adam_has_no_weight_decay(decay: float):
    weight, bias = run(Training(optimizer="adam", weight_decay=decay, betas=(0.8, 0.999), eps=1e-8))
    torch.testing.assert_close(weight.double(), adam_by_hand(WEIGHT, (0.8, 0.999), 1e-8), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(bias.double(), adam_by_hand(BIAS, (0.8, 0.999), 1e-8), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.5, 0.9])
def test_sgd_with_momentum(momentum: float, nesterov: bool):
    weight, bias = run(Training(optimizer="sgd", momentum=momentum, nesterov=nesterov, weight_decay=0.3))
    torch.testing.assert_close(weight.double(), sgd_by_hand(WEIGHT, momentum, nesterov, 0.3), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(bias.double(), sgd_by_hand(BIAS, momentum, nesterov, 0.0), rtol=1e-5, atol=1e-6)


def test_nesterov_needs_momentum():
    with pytest.raises(ValidationError, match="nesterov: found true; needs a training.momentum above 0"):
        Training(optimizer="sgd", momentum=0.0, nesterov=True)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_entry_declares_all_that_it_reads(name: str):
    settings = Tracked(Training(optimizer=name))
    OPTIMIZERS[name](nn.Linear(2, 2), settings)
    assert settings.read == {"learning_rate", *OPTIMIZERS[name].uses}
