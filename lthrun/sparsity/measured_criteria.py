"""Criteria that have to see images: scores of all tensors at once, from gradients or activations.

A new one is one registered function. They run in float32 (SynFlow in float64) on a model of
their own; nothing they do is seen by the training. The lowest scores are pruned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lthrun.sparsity.criteria import CRITERIA

if TYPE_CHECKING:
    from torch import Tensor, nn

    Tensors = dict[str, Tensor]

PASSES = 100
TEMPERATURE = 200.0


@dataclass(frozen=True)
class ScoringContext:
    """A network at the moment it is pruned.

    Attributes:
        names: the tensors to score.
        trained, start: all parameters and buffers, now and at the rewind point, pruned weights zero.
        masks: what is pruned already; empty before the first pruning.
        sparsity: percent to be reached now.
        model: a model of the caller's making that holds a state, on the device.
        batches: (images, labels) to measure on, the same at each call.
        prune: masks from scores, a sparsity and earlier masks, by the rules of the run.
    """

    names: Sequence[str]
    trained: Tensors
    start: Tensors
    masks: Tensors
    sparsity: float
    model: Callable[[Tensors], nn.Module]
    batches: Callable[[], Iterable[tuple[Tensor, Tensor]]]
    prune: Callable[[Tensors, float, Tensors | None], Tensors]


@CRITERIA.register(
    "|w · ∂L/∂w| of the trained weights, the first-order change of the loss (Molchanov et al. 2017, eq. 7).",
    uses=("batches",),
    measured=True,
)
def taylor(case: ScoringContext) -> Tensors:
    return saliency(case, case.trained)


@CRITERIA.register(
    "|w₀ · ∂L/∂w₀| at initialisation, without training (SNIP; Lee et al. 2019, eq. 4).",
    uses=("batches",),
    measured=True,
)
def snip(case: ScoringContext) -> Tensors:
    return saliency(case, case.start)


def saliency(case: ScoringContext, state: Tensors) -> Tensors:
    weights, gradients = mean_gradients(case, state)
    return {name: (w * g).abs().detach().cpu() for name, w, g in zip(case.names, weights, gradients, strict=True)}


def mean_gradients(case: ScoringContext, state: Tensors) -> tuple[list[Tensor], list[Tensor]]:
    """The weights and ∂L/∂w, the mean over the batches, batch norm on batch statistics."""
    import torch
    from torch.nn.functional import cross_entropy

    model = case.model(state).train()
    weights: list[Tensor] = [model.get_parameter(name) for name in case.names]
    total = [torch.zeros_like(w) for w in weights]
    count = 0
    for images, labels in case.batches():
        count += 1
        found = torch.autograd.grad(cross_entropy(model(images), labels), weights)
        for sum_, gradient in zip(total, found, strict=True):
            sum_ += gradient
    return weights, [sum_ / count for sum_ in total]


@CRITERIA.register(
    "w₀ · (H·g) at initialisation: what the gradient's flow needs stays (GraSP; Wang et al. 2020, eq. 8).",
    uses=("batches",),
    measured=True,
)
def grasp(case: ScoringContext) -> Tensors:
    """H is the Hessian and g the gradient of the loss, logits divided by 200 as in the authors' code. They prune the
    highest −w₀ · (H·g), which are the lowest here. H·g is the gradient of gᵀ·stop(g).
    """
    import torch
    from torch.nn.functional import cross_entropy

    model = case.model(case.start).train()
    weights = [model.get_parameter(name) for name in case.names]

    def gradient(images: Tensor, labels: Tensor, keep: bool) -> tuple[Tensor, ...]:
        loss = cross_entropy(model(images) / TEMPERATURE, labels)
        found: tuple[Tensor, ...] = torch.autograd.grad(loss, weights, create_graph=keep)
        return found

    flow = [torch.zeros_like(w) for w in weights]
    for images, labels in case.batches():
        for sum_, g in zip(flow, gradient(images, labels, False), strict=True):
            sum_ += g
    bent = [torch.zeros_like(w) for w in weights]
    for images, labels in case.batches():
        product = sum((g * stopped).sum() for g, stopped in zip(gradient(images, labels, True), flow, strict=True))
        for sum_, g in zip(bent, torch.autograd.grad(product, weights), strict=True):  # type: ignore[arg-type]
            sum_ += g
    return {name: (w * h).detach().cpu() for name, w, h in zip(case.names, weights, bent, strict=True)}


def twice_differentiable(model: nn.Module, channels: int, image_size: int) -> bool:
    """Whether `grasp` can be taken of a model: some operations, as MobileNetV3's hard sigmoid, have no second
    derivative in torch. Images are [batch, channels, image_size, image_size]."""
    import torch

    weights = [p for p in model.parameters() if p.requires_grad]
    flow = torch.autograd.grad(
        model.train()(torch.rand(2, channels, image_size, image_size)).square().sum(), weights, create_graph=True
    )
    try:
        torch.autograd.grad(sum(g.square().sum() for g in flow), weights, allow_unused=True)  # type: ignore[arg-type]
    except RuntimeError:
        return False
    return True


@CRITERIA.register(
    "|w₀ · ∂R/∂w₀| at initialisation, in 100 passes, without data (SynFlow; Tanaka et al. 2020, algorithm 1).",
    measured=True,
)
def synflow(case: ScoringContext) -> Tensors:
    """R is the sum of the outputs for an image of ones, all weights replaced by their magnitudes, in float64. Pass k
    prunes to 1 − (1 − s)^(k/100), so that scores are taken anew among the survivors: a single pass can empty a layer.
    """
    import torch

    masks = case.masks
    ones = torch.ones_like(next(iter(case.batches()))[0][:1], dtype=torch.float64)
    magnitudes = {name: t.double().abs() if t.is_floating_point() else t for name, t in case.start.items()}
    for k in range(1, PASSES + 1):
        state = magnitudes | {name: magnitudes[name] * mask for name, mask in masks.items()}
        model = case.model(state).double().eval()
        for name, tensor in model.state_dict().items():
            tensor.copy_(state[name])  # in float64 after all: the model came in float32
        weights = [model.get_parameter(name) for name in case.names]
        gradients = torch.autograd.grad(model(ones).sum(), weights)
        scores = {name: (w * g).abs().detach().cpu() for name, w, g in zip(case.names, weights, gradients, strict=True)}
        masks = case.prune(scores, 100 * (1 - (1 - case.sparsity / 100) ** (k / PASSES)), masks or None)
    # What the passes have pruned is below all that is left.
    return {name: score.masked_fill(~masks[name], -1.0) for name, score in scores.items()}


@CRITERIA.register(
    "|w| · ‖x‖₂, x the input that the weight sees over the batches (Sun et al. 2024, eq. 1).",
    uses=("batches",),
    measured=True,
)
def wanda(case: ScoringContext) -> Tensors:
    # Sun et al. compare weights within each output; here, as with every criterion, within the tensor or over all.
    import torch
    from torch import nn

    model = case.model(case.trained).eval()
    squares: Tensors = {}

    def watch(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            x = inputs[0]
            features = 1 if isinstance(module, nn.Conv2d) else x.ndim - 1
            squares[name] = squares.get(name, 0) + x.square().sum([d for d in range(x.ndim) if d != features])

        return hook

    modules = {name: model.get_submodule(name.removesuffix(".weight")) for name in case.names}
    for name, module in modules.items():
        module.register_forward_pre_hook(watch(name))
    with torch.no_grad():
        for images, _ in case.batches():
            model(images)
    scores = {}
    for name, module in modules.items():
        weight = model.get_parameter(name).detach()
        groups = int(getattr(module, "groups", 1))
        # Filter o of a grouped convolution sees the inputs of its group only.
        norms = squares[name].sqrt().view(groups, -1).repeat_interleave(len(weight) // groups, 0)
        scores[name] = (weight.abs() * norms.view(*norms.shape, *[1] * (weight.ndim - 2))).cpu()
    return scores
