"""Tickets: a mask together with parameters and buffers at the rewind point, for use in your own code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lthrun.errors import UserError, shorten
from lthrun.sparsity import masks as masking
from lthrun.sparsity.masks import Tensors

FORMAT = "1"


@dataclass(frozen=True)
class Ticket:
    """A mask and the state it is trained from.

    Attributes:
        masks: one boolean tensor per pruned tensor, of its shape; true keeps the weight.
        state: every parameter and buffer at the start of the last level, pruned weights zero.
        metadata: model, classes, sparsity, rewind point, protocol, seed, config hash, format version, as text.
    """

    masks: Tensors
    state: Tensors
    metadata: dict[str, str]

    @property
    def sparsity(self) -> float:
        """Percent of the prunable weights that the mask removes."""
        return masking.masked_sparsity(self.masks)

    @property
    def frozen(self) -> Tensors:
        """The initial values at which pruned weights are frozen (Zhou et al. 2019); empty where they are zero."""
        return {name: self.state[name] for name in self.masks} if self.metadata.get("pruned") == "frozen" else {}

    def apply(self, model: nn.Module) -> None:
        """Copy the masked parameters and the buffers of the rewind point into `model`, in place.

        Raises:
            UserError: names, shapes or kinds of numbers differ; the model is unchanged.
        """
        own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        faults = [f"{name} is missing in the model" for name in self.state.keys() - own.keys()]
        faults += [f"{name} is missing in the ticket" for name in own.keys() - self.state.keys()]
        faults += [
            f"{name} is {tuple(own[name].shape)} in the model, {tuple(value.shape)} in the ticket"
            for name, value in self.state.items()
            if name in own and own[name].shape != value.shape
        ]
        faults += [
            f"{name} is {own[name].dtype} in the model, {value.dtype} in the ticket"
            for name, value in self.state.items()
            if name in own and own[name].is_floating_point() != value.is_floating_point()
        ]
        if faults:
            raise UserError("the ticket does not fit this model: " + "; ".join(sorted(faults)))
        with torch.no_grad():
            for name, value in self.state.items():
                own[name].copy_(value)
        masking.apply_masks(own, self.masks, self.frozen)

    def hold(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> masking.MaskHook:
        """Keep the pruned weights of `model` at zero: they are set to zero after every step of `optimizer`, so neither
        momentum nor weight decay changes them. `.remove()` ends it.

        Raises:
            UserError: a masked tensor is missing in the model, of another shape, or not trained by `optimizer`.
        """
        weights = dict(model.named_parameters())
        faults = [
            f"{name} {tuple(mask.shape)}"
            for name, mask in self.masks.items()
            if name not in weights or weights[name].shape != mask.shape
        ]
        if faults:
            raise UserError("the ticket does not fit this model; no such tensor: " + ", ".join(faults))
        trained = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        untrained = [name for name in self.masks if id(weights[name]) not in trained]
        if untrained:
            raise UserError("this optimizer does not train these tensors of the model: " + ", ".join(untrained))
        return masking.MaskHook(weights, self.masks, optimizer, self.frozen)

    def to_tensors(self) -> Tensors:
        """The tensors of `ticket.safetensors`: `mask/NAME` (boolean) and `state/NAME`."""
        return {f"mask/{n}": t for n, t in self.masks.items()} | {f"state/{n}": t for n, t in self.state.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], where: str) -> Ticket:
        """The inverse of `to_tensors`.

        Raises:
            UserError: not a ticket, another format version, or masks and state disagree; `where` names the file.
        """
        masks = {name.removeprefix("mask/"): t for name, t in tensors.items() if name.startswith("mask/")}
        state = {name.removeprefix("state/"): t for name, t in tensors.items() if name.startswith("state/")}
        if not masks or not state:
            raise UserError(f"{where}: not a ticket (it has no mask/… and state/… tensors)")
        unknown = sorted(tensors.keys() - {f"mask/{name}" for name in masks} - {f"state/{name}" for name in state})
        if unknown:
            raise UserError(
                f"{where}: found {shorten(', '.join(unknown))}; a ticket has only mask/… and state/… tensors"
            )
        if metadata.get("format") != FORMAT:
            raise UserError(f"{where}: ticket format {metadata.get('format')}; this lthrun reads format {FORMAT}")
        for name, mask in masks.items():
            if mask.dtype != torch.bool or name not in state or state[name].shape != mask.shape:
                raise UserError(
                    f"{where}: mask/{shorten(name)} must be boolean and have the shape of state/{shorten(name)}"
                )
            if mask.numel() == 0 or mask.view(torch.uint8).max() > 1:
                raise UserError(f"{where}: mask/{shorten(name)} must hold zeros and ones, and not be empty")
        return cls(masks, state, dict(metadata))
