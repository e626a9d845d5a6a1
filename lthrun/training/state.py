"""Everything needed to go on exactly, as flat dictionaries of CPU tensors that a file can hold.

There is no random state among it: every draw is a function of the seed and the step (lthrun.rng).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lthrun.sparsity.masks import Tensors
from lthrun.training.engine import Engine


def copy_model_state(model: nn.Module) -> Tensors:
    """Copies of all parameters and buffers, contiguous, on the CPU."""
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}


@torch.no_grad()
def load_model_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put back what `copy_model_state` took, whatever the device and layout."""
    for name, tensor in model.state_dict().items():
        tensor.copy_(state[name])


def copy_optimizer_state(engine: Engine) -> Tensors:
    """The optimizer's moments, in the shape of their parameter, and step counts as `PARAMETER/KEY`."""
    state: Mapping[Tensor, Mapping[str, Any]] = engine.optimizer.state
    return {
        f"{name}/{key}": view_like(value, parameter).detach().cpu().contiguous().clone()
        for name, parameter in engine.model.named_parameters()
        for key, value in state.get(engine.flat_parameter(parameter), {}).items()
        if isinstance(value, Tensor)
    }


def load_optimizer_state(engine: Engine, state: Mapping[str, Tensor]) -> None:
    """Put back what `copy_optimizer_state` took."""
    parameters = dict(engine.model.named_parameters())
    for path, value in state.items():
        name, _, key = path.rpartition("/")
        parameter = parameters[name]
        flat_parameter = engine.flat_parameter(parameter)
        own = engine.optimizer.state[flat_parameter]
        if key not in own:
            own[key] = torch.zeros_like(flat_parameter) if value.ndim else torch.zeros((), device=engine.device)
        view_like(own[key], parameter).copy_(value)


def view_like(value: Tensor, parameter: Tensor) -> Tensor:
    """A moment in the shape of its parameter, as whose elements its own lie in memory; a count as it is."""
    return value.as_strided(parameter.shape, parameter.stride()) if value.ndim else value


def add_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> Tensors:
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def select_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> Tensors:
    """The inverse of `add_prefix`: the part of `tensors` under a prefix."""
    return {name.removeprefix(f"{prefix}/"): t for name, t in tensors.items() if name.startswith(f"{prefix}/")}


def reset_batch_norm(model: nn.Module, state: Mapping[str, Tensor]) -> Tensors:
    """`state` with batch norm as initialised: γ = 1, β = 0, running mean 0 and variance 1."""
    fresh = dict(state)
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for key in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
                fill = torch.ones_like if key in ("weight", "running_var") else torch.zeros_like
                fresh[f"{name}.{key}"] = fill(state[f"{name}.{key}"])
    return fresh
