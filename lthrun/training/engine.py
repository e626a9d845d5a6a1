"""One training step and one evaluation, as fast as the device allows.

Inside an epoch nothing is read back from the device: losses and counts add up there and are read once. On CUDA a whole
step (forward, backward, optimizer, mask) is one graph, and so is the validation of a batch
(lthrun.training.cuda_graphs).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lthrun.config.sections import Training
from lthrun.sparsity import masks as masking
from lthrun.sparsity.masks import Tensors
from lthrun.training import convolution
from lthrun.training import cuda_graphs as graphs
from lthrun.training.heap import disable_heap_trimming
from lthrun.training.memory_layout import layout
from lthrun.training.optimizers import OPTIMIZERS, make_capturable, set_rate, use_flat_parameters

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Evaluation:
    """Mean loss over the images, how many of each class were right, and which: bool [images], in their order."""

    loss: float
    correct: list[int]
    right: Tensor = field(compare=False)


class Engine:
    """A model with its optimizer and masks on a device.

    Model and batches lie in memory as `layout` (lthrun.training.memory_layout) has it; on the CPU the process keeps the
    memory that it frees from now on (lthrun.training.heap). `loss` is the sum over the steps since `take_loss`, and
    `finite` counts the steps in which it was a number; both lie on the device. `uncaptured(what, why)` is told what
    goes without a CUDA graph on a device that has them.
    """

    def __init__(
        self,
        model: nn.Module,
        settings: Training,
        device: torch.device,
        precision: str,
        masks: Mapping[str, Tensor],
        frozen: Mapping[str, Tensor] = {},
        uncaptured: Callable[..., None] = lambda **_: None,
    ):
        if device.type == "cpu":
            disable_heap_trimming()
        self.layout = layout(device, precision)
        self.model = model.to(device, memory_format=self.layout)  # type: ignore[call-overload]
        self.device, self.precision, self.masks, self.frozen = device, precision, dict(masks), dict(frozen)
        if products := convolution.products(device, precision):
            convolution.use_products(self.model, products)
        self.optimizer = OPTIMIZERS[settings.optimizer](self.model, settings)
        self._flat_parameters: Mapping[Tensor, Tensor] = (
            use_flat_parameters(self.optimizer) if device.type == "cpu" else {}
        )
        self._hold = self._held()
        self.loss = torch.zeros((), device=device)
        self.finite = torch.zeros((), dtype=torch.int64, device=device)
        self._found: Tensor | None = None
        self._right: dict[int, Tensor] = {}
        recorder = graphs.recorder(device)
        if recorder:
            make_capturable(self.optimizer, device)
        self.warm_ups = graphs.WARM_UPS if recorder else 0  # steps after which it is as fast as it gets
        self._steps = graphs.Captured(recorder, "training", self.warm_ups, uncaptured)
        # Most engines that judge a supermask do so once: recording would take longer than it saves.
        self._judgements = graphs.Captured(recorder, "validation", 1, uncaptured)

    def _held(self) -> masking.MaskHook | None:
        weights = dict(self.model.named_parameters())
        return masking.MaskHook(weights, self.masks, self.optimizer, self.frozen) if self.masks else None

    def flat_parameter(self, parameter: Tensor) -> Tensor:
        """What the optimizer has of a parameter: itself, or a vector in its stead."""
        return self._flat_parameters.get(parameter, parameter)

    def prune(self, masks: Tensors) -> None:
        """Go on under other masks; weights that come back come back from zero."""
        if self._hold:
            self._hold.remove()
        self.masks = masks
        self._hold = self._held()
        self._steps.forget()

    def autocast(self) -> torch.autocast:
        on = self.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=on, cache_enabled=False)

    def step(self, batch: Batch, rate: float | None = None) -> None:
        """One step of training, at a learning rate if one is given; the model must be in training mode."""
        if rate is not None:
            set_rate(self.optimizer, rate)
        images, labels = batch
        self._steps(self._step, images.contiguous(memory_format=self.layout), labels)
        self._steps.rounds += 1

    def _step(self, images: Tensor, labels: Tensor) -> None:
        with self.autocast():
            loss = cross_entropy(self.model(images), labels)
        torch.autograd.backward(loss)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.loss += loss.detach()
        self.finite += self.loss.isfinite()

    def take_loss(self) -> float:
        """The sum of the losses of the steps since the last call."""
        total = float(self.loss)
        self.loss.zero_()
        return total

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Batch], classes: int) -> Evaluation:
        """Judge the model as it is, batch norm on its running statistics; `classes` is that of the model."""
        self.model.eval()
        if self._found is None:
            self._found = torch.zeros(1 + classes, dtype=torch.float64, device=self.device)
        self._found.zero_()
        rights = []
        for images, labels in batches:
            if len(labels) not in self._right:
                self._right[len(labels)] = torch.zeros(len(labels), dtype=torch.bool, device=self.device)
            right = self._right[len(labels)]
            images = images.contiguous(memory_format=self.layout)
            self._judgements(partial(self._judge, self._found, right), images, labels)
            rights.append(right.clone())
        self._judgements.rounds += 1
        loss, *correct = self._found.tolist()
        every = torch.cat(rights)
        return Evaluation(loss / len(every), [int(count) for count in correct], every)

    def _judge(self, found: Tensor, right: Tensor, images: Tensor, labels: Tensor) -> None:
        """Add the sum of the losses, and the right answers of each class, to `found` [1 + classes]; which answers are
        right comes to `right` [batch]."""
        with self.autocast():
            logits = self.model(images).float()
        loss = cross_entropy(logits, labels, reduction="sum")
        each = labels.unsqueeze(1) == torch.arange(len(found) - 1, device=labels.device)
        right.copy_(logits.argmax(1) == labels)
        found += torch.cat([loss.unsqueeze(0), (each & right.unsqueeze(1)).sum(0)]).double()


@torch.no_grad()
def recalibrate_batch_norm(engine: Engine, batches: Iterable[Batch]) -> None:
    """Estimate batch norm's running statistics anew: the cumulative average over one pass of `batches`."""
    model = engine.model
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    model.train()
    for images, _ in batches:
        with engine.autocast():
            model(images.contiguous(memory_format=engine.layout))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
