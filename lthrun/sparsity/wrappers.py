"""Models and optimizers that other tools have wrapped: what is inside, and what cannot be masked."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from lthrun.errors import UserError, list_names

# The names under which DataParallel, DistributedDataParallel, AveragedModel and torch.compile keep a model.
WRAPPED = ("module", "_orig_mod")


def unwrap_model(model: nn.Module, names: Collection[str]) -> nn.Module:
    """The model inside its wrappers. `names` are the tensors that are wanted of it: where they begin with the name of
    a wrapped model, that name is part of the model."""
    while True:
        inner = dict(model.named_children())
        (prefix,) = inner if len(inner) == 1 else ("",)
        if prefix not in WRAPPED or any(name.startswith(f"{prefix}.") for name in names):
            return model
        if next(model.parameters(recurse=False), None) is not None:
            return model
        model = inner[prefix]


def unwrap_optimizer(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The optimizer inside a wrapper that takes no hooks and keeps it as `optimizer`, such as accelerate's."""
    while not hasattr(optimizer, "_optimizer_step_post_hooks"):
        inner = getattr(optimizer, "optimizer", None)
        if not isinstance(inner, torch.optim.Optimizer):
            raise UserError(f"optimizer: found {type(optimizer).__name__}; hold needs a torch.optim.Optimizer")
        optimizer = inner
    return optimizer


def refuse_sharded(tensors: Mapping[str, Tensor]) -> None:
    """Refuse DTensors, of which this process has only a part.

    Raises:
        UserError: names them.
    """
    # A DTensor exists only where its module was imported.
    distributed = sys.modules.get("torch.distributed.tensor")
    sharded = [n for n, tensor in tensors.items() if distributed and isinstance(tensor, distributed.DTensor)]
    if sharded:
        raise UserError(
            f"the model is sharded, a ticket needs whole tensors; found DTensor: {list_names(sharded)}; apply the "
            "ticket before fully_shard"
        )
