"""Channels-last weights as vectors, for the optimizer.

PyTorch's fused optimizers copy every gradient on the CPU that is not contiguous, which takes 7 ms of a 117 ms step of
resnet18 (docs/performance.md). A channels-last weight is not contiguous, but its memory has no gaps: its elements in
memory order are a contiguous vector. So the optimizer is given that vector, and the vector of the gradient.

This module holds the whole mapping: nothing else has to know whether the optimizer sees a weight or its vector.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lthrun.sparsity.masks import Tensors


class FlatParameters:
    """Replaces channels-last weights on the CPU in an optimizer by their vectors; all other parameters stay.

    The optimizer's step then takes the gradients from the weights, so it cannot be given a closure.
    """

    def __init__(self, optimizer: Optimizer):
        self._optimizer = optimizer
        self._vectors: dict[Tensor, Tensor] = {}
        for group in optimizer.param_groups:
            for i, weight in enumerate(group["params"]):
                if weight.device.type == "cpu" and is_channels_last(weight):
                    self._vectors[weight] = group["params"][i] = as_vector(weight)
        if self._vectors:
            optimizer.register_step_pre_hook(self._move_gradients)

    def get_state(self, parameter: Tensor) -> Tensors:
        """The optimizer's tensors for a parameter, by their key: moments in its shape (as views), and step counts."""
        state = self._optimizer.state.get(self._vectors.get(parameter, parameter), {})
        return {key: as_shaped(value, parameter) for key, value in state.items() if isinstance(value, Tensor)}

    def set_state(self, parameter: Tensor, key: str, value: Tensor) -> None:
        """Copy a tensor that `get_state` gave into the optimizer's, which may have none yet."""
        optimized = self._vectors.get(parameter, parameter)
        state: dict[str, Any] = self._optimizer.state[optimized]
        if key not in state:
            state[key] = torch.zeros_like(optimized) if value.ndim else torch.zeros((), device=optimized.device)
        as_shaped(state[key], parameter).copy_(value)

    def _move_gradients(self, *_: Any) -> None:
        for weight, vector in self._vectors.items():
            gradient, weight.grad = weight.grad, None
            vector.grad = None
            if gradient is not None:
                vector.grad = as_vector(gradient.contiguous(memory_format=torch.channels_last))


def is_channels_last(weight: Tensor) -> bool:
    """Whether a tensor is dense in channels-last order, and not in the usual order at the same time."""
    is_dense = weight.ndim == 4 and weight.is_contiguous(memory_format=torch.channels_last)
    return is_dense and not weight.is_contiguous()


def as_vector(tensor: Tensor) -> Tensor:
    """The elements of a dense tensor in memory order; shares its memory."""
    return tensor.detach().as_strided((tensor.numel(),), (1,))


def as_shaped(value: Tensor, parameter: Tensor) -> Tensor:
    """A moment in the shape and memory order of its parameter; a step count, which has no dimensions, as it is."""
    return value.as_strided(parameter.shape, parameter.stride()) if value.ndim else value
