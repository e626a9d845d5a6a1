"""Optimizers by name. A new one is one function here and one line in `OPTIMIZERS`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch.optim import Optimizer

    from lthrun.sections import Training


def groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """What is trained, in two groups: weight decay acts on weights; biases and batch norm are spared."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def adamw(model: nn.Module, training: Training) -> Optimizer:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2)."""
    import torch

    return torch.optim.AdamW(
        groups(model, training.weight_decay), training.learning_rate, training.betas, training.eps, fused=True
    )


def sgd(model: nn.Module, training: Training) -> Optimizer:
    """Stochastic gradient descent with momentum, weight decay in the gradient."""
    import torch

    return torch.optim.SGD(groups(model, training.weight_decay), training.learning_rate, training.momentum, fused=True)


def make_capturable(optimizer: Optimizer, device: torch.device) -> None:
    """Let a CUDA graph hold the step: what changes from step to step, rate and count, lies on the device then."""
    import torch

    for group in optimizer.param_groups:
        group.update(capturable=True, lr=torch.tensor(group["lr"], device=device))


def set_rate(optimizer: Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        if isinstance(group["lr"], float):
            group["lr"] = rate
        else:
            group["lr"].fill_(rate)


OPTIMIZERS: dict[str, Callable[[nn.Module, Training], Optimizer]] = {"adamw": adamw, "sgd": sgd}
