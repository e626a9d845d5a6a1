"""Optimizers by name. A new one is one registered function; what it reads of the settings stands in `uses`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lthrun.registry import Entry, Table

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch.optim import Optimizer

    from lthrun.config.sections import Training

OPTIMIZERS = Table("optimizers", "training.optimizer", Entry)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The trained parameters in two groups: weight decay acts on weights, not on biases and batch norm. Without weight
    decay in one, as each group takes a kernel of its own."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not weight_decay:
        return [{"params": parameters, "weight_decay": 0.0}]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


@OPTIMIZERS.register(
    "Adam with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2).", uses=("betas", "eps", "weight_decay")
)
def adamw(model: nn.Module, training: Training) -> Optimizer:
    import torch

    groups = parameter_groups(model, training.weight_decay)
    return torch.optim.AdamW(groups, training.learning_rate, training.betas, training.eps, fused=True)


@OPTIMIZERS.register("Adam without weight decay (Kingma & Ba 2015, algorithm 1).", uses=("betas", "eps"))
def adam(model: nn.Module, training: Training) -> Optimizer:
    import torch

    groups = parameter_groups(model, 0.0)
    return torch.optim.Adam(groups, training.learning_rate, training.betas, training.eps, fused=True)


@OPTIMIZERS.register(
    "Stochastic gradient descent with momentum, Nesterov's if asked for; weight decay in the gradient.",
    uses=("momentum", "nesterov", "weight_decay"),
)
def sgd(model: nn.Module, training: Training) -> Optimizer:
    import torch

    groups = parameter_groups(model, training.weight_decay)
    return torch.optim.SGD(groups, training.learning_rate, training.momentum, nesterov=training.nesterov, fused=True)


def make_capturable(optimizer: Optimizer, device: torch.device) -> None:
    """Let a CUDA graph hold the optimizer's step: learning rate and step count, which change, lie on the device."""
    import torch

    for group in optimizer.param_groups:
        group.update(capturable=True, lr=torch.tensor(group["lr"], device=device))


def set_learning_rate(optimizer: Optimizer, learning_rate: float) -> None:
    for group in optimizer.param_groups:
        if isinstance(group["lr"], float):
            group["lr"] = learning_rate
        else:
            group["lr"].fill_(learning_rate)
