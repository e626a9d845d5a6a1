"""Optimizers by name. A new one is one registered function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lthrun.registry import Entry, Table

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from lthrun.config.sections import Training

OPTIMIZERS = Table("optimizers", "training.optimizer", Entry)


def groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """What is trained, in two groups: weight decay acts on weights; biases and batch norm are spared."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


@OPTIMIZERS.register(
    "Adam with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2).", uses=("betas", "eps", "weight_decay")
)
def adamw(model: nn.Module, training: Training) -> Optimizer:
    import torch

    return torch.optim.AdamW(
        groups(model, training.weight_decay), training.learning_rate, training.betas, training.eps, fused=True
    )


@OPTIMIZERS.register(
    "Stochastic gradient descent with momentum, weight decay in the gradient.", uses=("momentum", "weight_decay")
)
def sgd(model: nn.Module, training: Training) -> Optimizer:
    import torch

    return torch.optim.SGD(groups(model, training.weight_decay), training.learning_rate, training.momentum, fused=True)


def vector(tensor: Tensor) -> Tensor:
    """The elements of a dense tensor as they lie in memory, which it shares."""
    return tensor.detach().as_strided((tensor.numel(),), (1,))


def use_flat_parameters(optimizer: Optimizer) -> dict[Tensor, Tensor]:
    """Let the optimizer work on vectors in the stead of weights in channels-last layout, and on their gradients as
    these lie in memory; the vector of each such weight.

    On the CPU, PyTorch's fused optimizers copy every gradient that is not contiguous. A step takes the gradients away
    from the weights; it cannot be given a closure that makes them.
    """
    import torch

    layout = torch.channels_last
    found = {}
    for group in optimizer.param_groups:
        for i, weight in enumerate(group["params"]):
            if weight.ndim == 4 and weight.is_contiguous(memory_format=layout) and not weight.is_contiguous():
                found[weight] = group["params"][i] = vector(weight)

    def take_gradients(*_: Any) -> None:
        for weight, flat_parameter in found.items():
            gradient, weight.grad = weight.grad, None
            flat_parameter.grad = None if gradient is None else vector(gradient.contiguous(memory_format=layout))

    optimizer.register_step_pre_hook(take_gradients)
    return found


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
