"""The state of a training, as flat dictionaries of CPU tensors that a file can hold.

It has no random state: every draw is a function of the seed and the step (lthrun.rng).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from lthrun.sparsity.masks import Tensors
from lthrun.training.flat_parameters import FlatParameters


class HasOptimizer(Protocol):
    """An engine, as far as its optimizer's state is concerned."""

    model: nn.Module
    flat_parameters: FlatParameters


def copy_model_state(model: nn.Module) -> Tensors:
    """Copies of all parameters and buffers, contiguous, on the CPU."""
    return copy_to_cpu(model.state_dict())


@torch.no_grad()
def load_model_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """The inverse of `copy_model_state`, on any device and in any memory format."""
    for name, tensor in model.state_dict().items():
        tensor.copy_(state[name])


def copy_optimizer_state(engine: HasOptimizer) -> Tensors:
    """Copies of the optimizer's moments, in the shape of their parameter, and step counts, as `PARAMETER/KEY`."""
    return copy_to_cpu(
        {
            f"{name}/{key}": value
            for name, parameter in engine.model.named_parameters()
            for key, value in engine.flat_parameters.get_state(parameter).items()
        }
    )


def load_optimizer_state(engine: HasOptimizer, state: Mapping[str, Tensor]) -> None:
    """The inverse of `copy_optimizer_state`."""
    for path, value in state.items():
        name, _, key = path.rpartition("/")
        engine.flat_parameters.set_state(engine.model.get_parameter(name), key, value)


def copy_to_cpu(tensors: Mapping[str, Tensor]) -> Tensors:
    layout = torch.contiguous_format
    return {name: t.detach().to("cpu", memory_format=layout, copy=True) for name, t in tensors.items()}


def join_parts(**parts: Mapping[str, Tensor]) -> Tensors:
    """The tensors of several parts for one file, each under `PART/NAME`."""
    return {f"{part}/{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}


def select_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> Tensors:
    """The inverse of `join_parts`: the part of `tensors` under a prefix."""
    return {name.removeprefix(f"{prefix}/"): t for name, t in tensors.items() if name.startswith(f"{prefix}/")}


def reset_batch_norm(model: nn.Module, state: Mapping[str, Tensor]) -> Tensors:
    """`state` with batch norm as initialized: γ = 1, β = 0, running mean 0 and variance 1."""
    reset = dict(state)
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for key in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
                fill = torch.ones_like if key in ("weight", "running_var") else torch.zeros_like
                reset[f"{name}.{key}"] = fill(state[f"{name}.{key}"])
    return reset
