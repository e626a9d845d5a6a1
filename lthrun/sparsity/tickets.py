"""Tickets: a mask together with parameters and buffers at the rewind point, for use in your own code."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lthrun.errors import UserError, list_names, shorten
from lthrun.sparsity import masks as masking
from lthrun.sparsity.hold import Hold, hold_by_hooks, hold_by_parametrization
from lthrun.sparsity.layer_selection import check_patterns, matches_any
from lthrun.sparsity.masks import Tensors
from lthrun.sparsity.wrappers import refuse_sharded, unwrap_model

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

    def apply(self, model: nn.Module, skip: Collection[str] = ()) -> None:
        """Copy the masked parameters and the buffers of the rewind point into `model`, in place.

        `skip` are shell-style patterns of tensor names that are left as they are, in the ticket and in the model: the
        classifier of another task by `["fc.*"]`. A model in DataParallel, DistributedDataParallel, torch.compile or
        AveragedModel is unwrapped.

        Raises:
            UserError: names, shapes or kinds of numbers differ, or a pattern matches nothing; the model is unchanged.
        """
        model = unwrap_model(model, self.state)
        own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        check_patterns("skip", skip, {**self.state, **own}, "tensor")
        own = {name: tensor for name, tensor in own.items() if not matches_any(name, skip)}
        state = {name: value for name, value in self.state.items() if not matches_any(name, skip)}
        refuse_sharded(own)
        shared = {name: (own[name], value) for name, value in state.items() if name in own}
        faults = [f"{name} is missing in the model" for name in state.keys() - own.keys()]
        faults += [f"{name} is missing in the ticket" for name in own.keys() - state.keys()]
        for name, (tensor, value) in shared.items():
            if tensor.shape != value.shape:
                faults.append(f"{name} is {tuple(tensor.shape)} in the model, {tuple(value.shape)} in the ticket")
            if tensor.is_floating_point() != value.is_floating_point():
                faults.append(f"{name} is {tensor.dtype} in the model, {value.dtype} in the ticket")
        if faults:
            raise UserError(f"the ticket does not fit this model: {list_names(sorted(faults))}")
        with torch.no_grad():
            for tensor, value in shared.values():
                tensor.copy_(value)
        masking.apply_masks(own, {name: mask for name, mask in self.masks.items() if name in own}, self.frozen)

    def hold(
        self, model: nn.Module, optimizer: torch.optim.Optimizer | None = None, only: Collection[str] = ("*",)
    ) -> Hold:
        """Keep the pruned weights of `model` at zero while you train it; `.remove()` of the result ends it.

        Without an optimizer the weights become a parametrization of torch (`weight = original · mask`): whatever
        changes `original`, a copy of the model or a saved one, the weight in use is masked. Parameters then have the
        name `LAYER.parametrizations.weight.original`.

        With the optimizer that trains them, the parameters keep their names, and hooks mask the weights after each
        `optimizer.step()`, before each forward pass and in `state_dict()`, and their gradients in each backward pass.
        It is faster. Between a change of the weights by something other than `optimizer` and the next forward pass,
        the tensors themselves can have values other than zero.

        `only` are shell-style patterns of the tensors to hold, as where two optimizers train parts of the model.

        Raises:
            UserError: a masked tensor is missing in the model, of another shape, or not trained by `optimizer`, or a
                pattern matches no masked tensor.
        """
        check_patterns("only", only, self.masks, "masked tensor")
        masks = {name: mask for name, mask in self.masks.items() if matches_any(name, only)}
        if optimizer is None:
            return hold_by_parametrization(model, masks, self.frozen)
        return hold_by_hooks(model, masks, self.frozen, optimizer)

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
