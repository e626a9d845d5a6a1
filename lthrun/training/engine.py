"""One training step and one evaluation, as fast as the device allows.

Inside an epoch nothing is read back from the device: losses and counts add up there and are read once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lthrun.sections import Training
from lthrun.sparsity import masks as masking
from lthrun.sparsity.masks import Tensors
from lthrun.training import convolution
from lthrun.training.optimizers import OPTIMIZERS

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Evaluation:
    """Mean loss over the images, how many of each class were right, and which: bool [images], in their order."""

    loss: float
    correct: list[int]
    right: Tensor


class Engine:
    """A model with its optimizer and masks on a device.

    Channels-last layout on every device: convolutions want it, and batches are gathered in it. `loss` is the sum over
    the steps since `take_loss`.
    """

    def __init__(
        self,
        model: nn.Module,
        settings: Training,
        device: torch.device,
        precision: str,
        masks: Mapping[str, Tensor],
        frozen: Mapping[str, Tensor] = {},
    ):
        self.model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.device, self.precision, self.masks, self.frozen = device, precision, dict(masks), dict(frozen)
        if convolution.supported(device, precision):
            convolution.use_products(self.model)
        self.optimizer = OPTIMIZERS[settings.optimizer](self.model, settings)
        self._hold = self._held()
        self.loss = torch.zeros((), device=device)

    def _held(self) -> masking.Hold | None:
        weights = dict(self.model.named_parameters())
        return masking.Hold(weights, self.masks, self.optimizer, self.frozen) if self.masks else None

    def prune(self, masks: Tensors) -> None:
        """Go on under other masks; weights that come back come back from zero."""
        if self._hold:
            self._hold.remove()
        self.masks = masks
        self._hold = self._held()

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def step(self, batch: Batch, rate: float | None = None) -> None:
        """One step of training, at a learning rate if one is given; the model must be in training mode."""
        images, labels = batch
        if rate is not None:
            for group in self.optimizer.param_groups:
                group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        with self.autocast():
            loss = cross_entropy(self.model(images), labels)
        torch.autograd.backward(loss)
        self.optimizer.step()
        self.loss += loss.detach()

    def take_loss(self) -> float:
        """The sum of the losses of the steps since the last call."""
        total = float(self.loss)
        self.loss.zero_()
        return total


@torch.no_grad()
def evaluate(model: nn.Module, batches: Iterable[Batch], classes: int, autocast: torch.autocast) -> Evaluation:
    """Judge the model as it is, batch norm on its running statistics."""
    model.eval()
    losses, corrects, rights, seen = [], [], [], 0
    for images, labels in batches:
        with autocast:
            logits = model(images).float()
        losses.append(cross_entropy(logits, labels, reduction="sum"))
        rights.append(logits.argmax(1) == labels)
        right = labels[rights[-1]]
        corrects.append((right.unsqueeze(1) == torch.arange(classes, device=labels.device)).sum(0))
        seen += len(labels)
    loss = float(torch.stack(losses).sum()) / seen
    return Evaluation(loss, torch.stack(corrects).sum(0).tolist(), torch.cat(rights))


@torch.no_grad()
def recalibrate(model: nn.Module, batches: Iterable[Batch], autocast: torch.autocast) -> None:
    """Estimate batch norm's running statistics anew: the cumulative average over one pass of `batches`."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    model.train()
    for images, _ in batches:
        with autocast:
            model(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
