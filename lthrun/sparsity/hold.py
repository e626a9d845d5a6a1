"""Holding: pruned weights keep their value in a training loop that knows nothing of masks.

Masking after `optimizer.step()` alone is lost by what leaves that call out: a copied or saved model, sharpness-aware
steps, a schedule-free optimizer's averages. So there are two forms. The parametrization computes every use of a
parameter as parameter · mask, and nothing can leave it out. The fast form keeps the parameter and its name; it masks it
after each step, before each forward pass of its layer and in `state_dict()`, and its gradient in each backward pass.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.utils import parametrize

from lthrun.errors import UserError, list_names
from lthrun.sparsity.masks import MaskHook, Tensors, apply_masks, make_factor, make_summand
from lthrun.sparsity.wrappers import refuse_sharded, unwrap_model, unwrap_optimizer


class Hold:
    """Parameters that are held; `remove()` ends it and leaves them at their value."""

    def __init__(self, removers: list[Callable[[], Any]]):
        self._removers = removers

    def remove(self) -> None:
        for remove in self._removers:
            remove()
        self._removers = []


def hold_by_parametrization(model: nn.Module, masks: Tensors, frozen: Tensors) -> Hold:
    """Parametrize the parameters named in `masks`; what is pruned is zero, or at its value in `frozen`.

    Raises:
        UserError: the masks do not fit the model, or the model is in DistributedDataParallel already.
    """
    if isinstance(model, nn.parallel.DistributedDataParallel):
        raise UserError("DistributedDataParallel knows its parameters: hold the model first, or with its optimizer")
    model, parameters = find_parameters(model, masks)
    apply_masks(parameters, masks, frozen)
    removers: list[Callable[[], Any]] = []
    for name, parameter in parameters.items():
        for layer, key in find_owners(model, parameter):
            summand = make_summand(parameter, masks[name], frozen[name]) if frozen else None
            parametrize_by_mask(layer, key, MaskedParameter(make_factor(parameter, masks[name]), summand))
            removers.append(partial(parametrize.remove_parametrizations, layer, key))
    return Hold(removers)


def hold_by_hooks(model: nn.Module, masks: Tensors, frozen: Tensors, optimizer: torch.optim.Optimizer) -> Hold:
    """Mask the parameters named in `masks` by hooks of `optimizer` and of their layers.

    Raises:
        UserError: the masks do not fit the model, or `optimizer` does not train a parameter, or a parameter is used
            without a forward pass of its layer.
    """
    model, parameters = find_parameters(model, masks)
    optimizer = unwrap_optimizer(optimizer)
    trained = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    untrained = [name for name, parameter in parameters.items() if id(parameter) not in trained]
    if untrained:
        raise UserError(
            f"this optimizer does not train these tensors of the model: {list_names(untrained)}; name those that it "
            'trains, as in only=["layer4.*"], or hold without an optimizer'
        )
    owners = {name: find_owners(model, parameter) for name, parameter in parameters.items()}
    bypassed = [n for n, of in owners.items() if any(isinstance(o, NonDynamicallyQuantizableLinear) for o, _ in of)]
    if bypassed:
        raise UserError(
            f"MultiheadAttention uses these weights without a forward pass of their layer: {list_names(bypassed)}; "
            "hold them without an optimizer"
        )
    hook = MaskHook(parameters, masks, optimizer, frozen)
    removers: list[Callable[[], Any]] = [hook.remove]
    for name, kept, pruned in zip_longest(masks, hook.kept, hook.added):
        for layer, key in owners[name]:
            guard = ParameterGuard(key, MaskedParameter(kept, pruned))
            guard(layer)
            removers += [
                layer.register_forward_pre_hook(guard).remove,
                layer.register_state_dict_pre_hook(guard).remove,  # type: ignore[no-untyped-call]
                guard.remove,
            ]
    return Hold(removers)


def find_parameters(model: nn.Module, masks: Tensors) -> tuple[nn.Module, dict[str, nn.Parameter]]:
    """The model without wrappers, and its parameters that are named in `masks`."""
    model = unwrap_model(model, masks)
    parameters = dict(model.named_parameters())
    faults = [
        f"{n} {tuple(m.shape)}" for n, m in masks.items() if n not in parameters or parameters[n].shape != m.shape
    ]
    if faults:
        held = any(".parametrizations." in name for name in parameters)
        hint = "; the model has parametrized tensors: remove() an earlier hold first" if held else ""
        raise UserError(f"the ticket does not fit this model; no such tensor: {list_names(faults)}{hint}")
    parameters = {name: parameters[name] for name in masks}
    refuse_sharded(parameters)
    return model, parameters


def find_owners(model: nn.Module, parameter: nn.Parameter) -> list[tuple[nn.Module, str]]:
    """The modules that have the parameter, and under which name: several where it is shared."""
    return [(m, key) for m in model.modules() for key, p in m.named_parameters(recurse=False) if p is parameter]


class MaskedParameter(nn.Module):
    """parameter · mask, plus the frozen values of what is pruned, if any."""

    kept: Tensor
    pruned: Tensor | None

    def __init__(self, kept: Tensor, pruned: Tensor | None):
        super().__init__()
        # Not part of the state: a state dict fits the model with and without a hold of this form.
        self.register_buffer("kept", kept, persistent=False)
        self.register_buffer("pruned", pruned, persistent=False)

    def forward(self, parameter: Tensor) -> Tensor:
        masked = parameter * self.kept
        return masked if self.pruned is None else masked + self.pruned

    def right_inverse(self, parameter: Tensor) -> Tensor:
        return parameter


def parametrize_by_mask(layer: nn.Module, key: str, masked: MaskedParameter) -> None:
    parametrize.register_parametrization(layer, key, masked, unsafe=True)
    # torch creates the class of a parametrized module at run time and refuses to pickle it.
    type(layer).__reduce_ex__ = reduce_layer  # type: ignore[method-assign,assignment]


def reduce_layer(layer: Any, protocol: int) -> tuple[Any, ...]:
    """How a layer with held parameters is pickled: the layer without parametrizations, and these beside it."""
    entries = dict(layer.parametrizations.items())
    if not all(len(entry) == 1 and isinstance(entry[0], MaskedParameter) for entry in entries.values()):
        raise RuntimeError("a layer with other parametrizations beside a held one's saves its state_dict() only")
    state = {
        **layer.__dict__,
        "_modules": {name: module for name, module in layer._modules.items() if name != "parametrizations"},
        "_parameters": {key: entry.original for key, entry in entries.items()} | layer._parameters,
    }
    return restore_layer, (type(layer).__bases__[0], state, {key: entry[0] for key, entry in entries.items()})


def restore_layer(kind: type[nn.Module], state: dict[str, Any], held: dict[str, MaskedParameter]) -> nn.Module:
    layer = kind.__new__(kind)
    layer.__setstate__(state)  # type: ignore[no-untyped-call]
    for key, masked in held.items():
        parametrize_by_mask(layer, key, masked)
    return layer


class ParameterGuard:
    """Masks a layer's parameter whenever it is called with the layer, and its gradient in each backward pass.

    As a hook of the layer it is copied and saved with it, which hooks of an optimizer and of a gradient are not: the
    first forward pass of a copy masks its parameter and registers the gradient's hook again.
    """

    def __init__(self, key: str, masked: MaskedParameter):
        self.key, self.masked = key, masked
        self._parameter: weakref.ref[Tensor] | None = None
        self._handle: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {"key": self.key, "masked": self.masked, "_parameter": None, "_handle": None}

    @torch.no_grad()
    def __call__(self, layer: nn.Module, *_: Any) -> None:
        parameter, masked = getattr(layer, self.key), self.masked
        if masked.kept.device != parameter.device or masked.kept.dtype != parameter.dtype:
            masked.to(parameter)
        is_new = self._parameter is None or self._parameter() is not parameter
        if is_new and isinstance(parameter, nn.Parameter) and parameter.requires_grad:
            self._parameter = weakref.ref(parameter)
            # Before a gradient is averaged over processes, so that all of them have the masked one.
            self._handle = parameter.register_post_accumulate_grad_hook(self.mask_gradient)  # type: ignore[no-untyped-call]
        # Through `data`, so that autograd does not see it: a graph may still need the parameter, whose value stays.
        parameter.data.mul_(masked.kept)
        if masked.pruned is not None:
            parameter.data.add_(masked.pruned)

    @torch.no_grad()
    def mask_gradient(self, parameter: Tensor) -> None:
        if parameter.grad is not None:
            parameter.grad.mul_(self.masked.kept)

    def remove(self) -> None:
        if self._handle is not None:
            self._handle.remove()
