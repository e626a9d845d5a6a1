"""One training step and one evaluation, as fast as the device allows.

Within an epoch nothing is read back from the device: losses and counts are summed there and read once. On CUDA a whole
step (forward, backward, optimizer, mask) is one graph, and so is the validation of a batch
(lthrun.training.cuda_graphs).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lthrun.config.sections import Training
from lthrun.events import Emit, ignore
from lthrun.sparsity.masks import MaskHook, Tensors
from lthrun.training import cpu_convolution
from lthrun.training import cuda_graphs as graphs
from lthrun.training.flat_parameters import FlatParameters
from lthrun.training.heap import disable_heap_trimming
from lthrun.training.memory_layout import choose_memory_format
from lthrun.training.optimizers import OPTIMIZERS, make_capturable, set_learning_rate
from lthrun.training.recalibration import BatchNormRecalibration
from lthrun.training.state import load_model_state

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Evaluation:
    """Mean loss over the images, right answers of each class, and which answers are right: bool [images], in order."""

    loss: float
    correct: list[int]
    right: Tensor = field(compare=False)


class Engine:
    """A model with its optimizer and masks on a device.

    Attributes:
        layout: the memory format of images and filters (lthrun.training.memory_layout).
        masks, frozen: the masks, and the values of pruned weights where these are not zero.
        loss: the sum of the losses of the steps since `take_loss`, on the device.
        finite: the number of steps in which that sum was finite, on the device.
        warm_ups: the number of steps that run eagerly, before the engine reaches its full speed.
    """

    def __init__(
        self,
        model: nn.Module,
        settings: Training,
        device: torch.device,
        precision: str,
        masks: Mapping[str, Tensor],
        frozen: Mapping[str, Tensor] = {},
        emit: Emit = ignore,
    ):
        if device.type == "cpu":
            disable_heap_trimming()
        self.layout = choose_memory_format(device, precision)
        self.model = model.to(device, memory_format=self.layout)  # type: ignore[call-overload]
        self.device, self.precision, self.masks, self.frozen = device, precision, dict(masks), dict(frozen)
        self._settings = settings
        if rules := cpu_convolution.find_rules(device, precision):
            cpu_convolution.use_matrix_products(self.model, rules)
        self.optimizer = OPTIMIZERS[settings.optimizer](self.model, settings)
        self.flat_parameters = FlatParameters(self.optimizer)
        self._mask_hook = self._make_mask_hook()
        self.loss = torch.zeros((), device=device)
        self.finite = torch.zeros((), dtype=torch.int64, device=device)
        self._totals: Tensor | None = None
        self._right: dict[int, Tensor] = {}
        recorder = graphs.make_recorder(device)
        if recorder:
            make_capturable(self.optimizer, device)
        self.warm_ups = graphs.WARM_UPS if recorder else 0
        self._training = graphs.GraphedFunction(recorder, "training", self.warm_ups, emit)
        # An engine that validates once does not record it, as that takes longer than it saves.
        self._validation = graphs.GraphedFunction(recorder, "validation", 1, emit)
        graph = graphs.GraphedFunction(recorder, "batch norm recalibration", self.warm_ups, emit) if recorder else None
        self.recalibration = BatchNormRecalibration(self.model, self._forward, graph)

    def _make_mask_hook(self) -> MaskHook | None:
        weights = dict(self.model.named_parameters())
        return MaskHook(weights, self.masks, self.optimizer, self.frozen) if self.masks else None

    def load(
        self, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], frozen: Mapping[str, Tensor] = {}
    ) -> None:
        """Start from another state, as a new engine would: parameters and buffers, masks, and a new optimizer state.

        All tensors stay in place, so that validation and recalibration stay recorded; the training step is recorded
        again. So many masks are evaluated by one engine, at the cost of one recording.
        """
        load_model_state(self.model, weights)
        self.optimizer.state.clear()
        set_learning_rate(self.optimizer, self._settings.learning_rate)
        self.frozen = dict(frozen)
        self.prune(dict(masks))
        self.loss.zero_()
        self.finite.zero_()

    def prune(self, masks: Tensors) -> None:
        """Continue under other masks; a weight that is kept again starts from zero."""
        if self._mask_hook:
            self._mask_hook.remove()
        self.masks = masks
        self._mask_hook = self._make_mask_hook()
        self._training.reset()

    def autocast(self) -> AbstractContextManager[Any]:
        if self.precision != "bfloat16":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False)

    def _forward(self, images: Tensor) -> Tensor:
        with self.autocast():
            logits: Tensor = self.model(images)
        return logits

    def step(self, batch: Batch, learning_rate: float | None = None) -> None:
        """One training step, at the last learning rate if none is given; the model must be in training mode."""
        if learning_rate is not None:
            set_learning_rate(self.optimizer, learning_rate)
        images, labels = batch
        self._training(self._step, images.contiguous(memory_format=self.layout), labels)
        self._training.rounds += 1

    def _step(self, images: Tensor, labels: Tensor) -> None:
        try:
            with self.autocast():
                loss = cross_entropy(self.model(images), labels)
            torch.autograd.backward(loss)
            self.optimizer.step()
        finally:  # also where recording fails, so that its gradients are not added to those of the next step
            self.optimizer.zero_grad(set_to_none=True)
        self.loss += loss.detach()
        self.finite += self.loss < torch.inf  # not so of NaN, and a cross entropy is never negative

    def take_loss(self) -> float:
        """The sum of the losses of the steps since the last call."""
        total = float(self.loss)
        self.loss.zero_()
        return total

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Batch], classes: int) -> Evaluation:
        """Evaluate the model, batch norm on its running statistics; `classes` is the model's number of classes."""
        self.model.eval()
        if self._totals is None:
            exact = torch.float32 if self.device.type == "mps" else torch.float64  # mps has no float64
            self._totals = torch.zeros(1 + classes, dtype=exact, device=self.device)
        self._totals.zero_()
        parts = []
        for images, labels in batches:
            if len(labels) not in self._right:
                self._right[len(labels)] = torch.zeros(len(labels), dtype=torch.bool, device=self.device)
            right = self._right[len(labels)]
            images = images.contiguous(memory_format=self.layout)
            self._validation(partial(self._evaluate_batch, self._totals, right), images, labels)
            parts.append(right.clone())
        self._validation.rounds += 1
        loss, *correct = self._totals.tolist()
        right = torch.cat(parts)
        return Evaluation(loss / len(right), [int(count) for count in correct], right)

    def _evaluate_batch(self, totals: Tensor, right: Tensor, images: Tensor, labels: Tensor) -> None:
        """Add the sum of the losses and the right answers of each class to `totals` [1 + classes], and write which
        answers are right to `right` [batch]."""
        logits = self._forward(images).float()
        loss = cross_entropy(logits, labels, reduction="sum")
        is_class = labels.unsqueeze(1) == torch.arange(len(totals) - 1, device=labels.device)
        right.copy_(logits.argmax(1) == labels)
        totals += torch.cat([loss.unsqueeze(0), (is_class & right.unsqueeze(1)).sum(0)]).to(totals.dtype)


def recalibrate_batch_norm(engine: Engine, batches: Iterable[Batch]) -> None:
    """Re-estimate batch norm's running statistics: the average over one pass of `batches`."""
    engine.recalibration.run(engine.model, (images.contiguous(memory_format=engine.layout) for images, _ in batches))
