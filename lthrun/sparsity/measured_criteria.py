"""Criteria that need images: they score all tensors at once, from gradients or activations.

A new one is one registered function. Each runs in float32 (SynFlow in float64) on its own copy of the model, so
training is not affected. The lowest scores are pruned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lthrun.errors import UserError
from lthrun.sparsity.criteria import CRITERIA

if TYPE_CHECKING:
    from torch import Tensor, nn

    Tensors = dict[str, Tensor]

PASSES = 100
TEMPERATURE = 200.0


@dataclass(frozen=True)
class ScoringContext:
    """A network at a pruning step.

    Attributes:
        names: the tensors to score.
        trained, start: all parameters and buffers, now and at the rewind point, pruned weights zero.
        masks: the masks so far; empty before the first pruning step.
        sparsity: the target of this pruning step in percent.
        model: builds a model with a given state, on the device.
        batches: (images, labels) to measure on, the same at each call.
        prune: makes masks from scores, a sparsity in percent and earlier masks, by the settings of the run.
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
    "(w · ∂L/∂w)² per batch, averaged: the squared first-order change of the loss (Molchanov et al. 2019).",
    uses=("batches",),
    measured=True,
    version=2,
)
def taylor(context: ScoringContext) -> Tensors:
    """Squared per batch and then averaged, as in the paper's section 3 and the authors' code: gradients of opposite
    sign in two batches do not cancel."""
    weights, per_batch = differentiate_loss(context, context.trained)
    total, count = add_up(
        [(w * g).detach().square() for w, g in zip(weights, gradients, strict=True)] for gradients in per_batch
    )
    return {name: (s / count).cpu() for name, s in zip(context.names, total, strict=True)}


@CRITERIA.register(
    "|w₀ · ∂L/∂w₀| at initialization, without training (SNIP; Lee et al. 2019, eq. 4).",
    uses=("batches",),
    measured=True,
    context="global",
)
def snip(context: ScoringContext) -> Tensors:
    """The gradient is the mean over the batches, as that of one large batch is."""
    weights, per_batch = differentiate_loss(context, context.start)
    total, count = add_up(per_batch)
    return {n: (w * (s / count)).abs().detach().cpu() for n, w, s in zip(context.names, weights, total, strict=True)}


def differentiate_loss(
    context: ScoringContext, state: Tensors, temperature: float = 1.0, create_graph: bool = False
) -> tuple[list[Tensor], Iterator[tuple[Tensor, ...]]]:
    """The weights, and ∂L/∂w of each batch, with logits divided by `temperature`; batch norm uses batch statistics."""
    import torch
    from torch.nn.functional import cross_entropy

    model = context.model(state).train()
    weights = find_weights(model, context.names)
    losses = (cross_entropy(model(images) / temperature, labels) for images, labels in context.batches())
    gradients = (
        torch.autograd.grad(loss, weights, create_graph=create_graph, materialize_grads=True) for loss in losses
    )
    return weights, gradients


def find_weights(model: nn.Module, names: Sequence[str]) -> list[Tensor]:
    """The weights to score, those that the model itself does not train included. The gradient of a layer that does not
    take part in the output is zero (`materialize_grads`)."""
    return [model.get_parameter(name).requires_grad_() for name in names]


def add_up(per_batch: Iterable[Sequence[Tensor]]) -> tuple[list[Tensor], int]:
    """The sums over the batches of what each has of every weight, and the number of batches."""
    totals: list[Tensor] = []
    count = 0
    for terms in per_batch:
        count += 1
        totals = [total + term for total, term in zip(totals, terms, strict=True)] if totals else list(terms)
    return totals, count


@CRITERIA.register(
    "w₀ · (H·g) at initialization: preserves the gradient flow (GraSP; Wang et al. 2020, eq. 8).",
    uses=("batches",),
    measured=True,
    context="global",
)
def grasp(context: ScoringContext) -> Tensors:
    """H is the Hessian and g the gradient of the loss, with logits divided by 200 as in the authors' code. They prune
    the highest −w₀ · (H·g), which are the lowest scores here. H·g is the gradient of gᵀ·stop_gradient(g).
    """
    import torch

    flow, _ = add_up(differentiate_loss(context, context.start, TEMPERATURE)[1])
    weights, per_batch = differentiate_loss(context, context.start, TEMPERATURE, create_graph=True)
    products = (sum((g * stopped).sum() for g, stopped in zip(gradients, flow, strict=True)) for gradients in per_batch)
    total, _ = add_up(torch.autograd.grad(product, weights, materialize_grads=True) for product in products)  # type: ignore[arg-type]
    return {n: (w * h).detach().cpu() for n, w, h in zip(context.names, weights, total, strict=True)}


def twice_differentiable(model: nn.Module, channels: int, image_size: int) -> bool:
    """Whether `grasp` works for a model: some operations, such as MobileNetV3's hard sigmoid, have no second
    derivative in torch. Images are [batch, channels, image_size, image_size]."""
    import torch

    weights = [p for p in model.parameters() if p.requires_grad]
    flow = torch.autograd.grad(
        model.train()(torch.rand(2, channels, image_size, image_size)).square().sum(),
        weights,
        create_graph=True,
        materialize_grads=True,
    )
    try:
        torch.autograd.grad(sum(g.square().sum() for g in flow), weights, allow_unused=True)  # type: ignore[arg-type]
    except RuntimeError:
        return False
    return True


@CRITERIA.register(
    "|w₀ · ∂R/∂w₀| at initialization, in 100 passes, without data (SynFlow; Tanaka et al. 2020, algorithm 1).",
    measured=True,
    may_empty=True,
    context="global",
)
def synflow(context: ScoringContext) -> Tensors:
    """R is the sum of the outputs for an image of ones, with all weights replaced by their magnitudes, in float64.
    Pass k prunes to 1 − (1 − s)^(k/100) and recomputes the scores of the kept weights: a single pass can empty a layer.

    A layer may lose all its weights if the output stays connected to the input: it may be a shortcut, or have one.

    Raises:
        UserError: no path of kept weights leads from the input to the output.
    """
    import torch

    image = torch.ones_like(next(iter(context.batches()))[0][:1], dtype=torch.float64).requires_grad_()
    magnitudes = {name: t.double().abs() if t.is_floating_point() else t for name, t in context.start.items()}

    def differentiate(masks: Tensors) -> tuple[Tensors, Tensor]:
        """The scores |w · ∂R/∂w|, and ∂R/∂x of the image."""
        state = magnitudes | {name: magnitudes[name] * mask for name, mask in masks.items()}
        model = context.model(state).double().eval()
        for name, tensor in model.state_dict().items():
            tensor.copy_(state[name])  # the model was built in float32; restore the float64 values
        weights = find_weights(model, context.names)
        *gradients, flow = torch.autograd.grad(model(image).sum(), [*weights, image], materialize_grads=True)
        pairs = zip(context.names, weights, gradients, strict=True)
        return {name: (w * g).abs().detach().cpu() for name, w, g in pairs}, flow

    masks = context.masks
    for k in range(1, PASSES + 1):
        scores, _ = differentiate(masks)
        masks = context.prune(scores, 100 * (1 - (1 - context.sparsity / 100) ** (k / PASSES)), masks or None)
    if not differentiate(masks)[1].any():
        raise UserError(
            f"pruning.sparsity: found {context.sparsity:g}; layer collapse, no path of kept weights leads from the "
            "input to the output: use a lower sparsity, or exclude layers with pruning.exclude"
        )
    # What the passes have pruned ranks below all kept weights, whose scores are not negative.
    return {name: score.masked_fill(~masks[name], -1.0) for name, score in scores.items()}


@CRITERIA.register(
    "|w| · ‖x‖₂, where x is the input of the weight over the batches (Sun et al. 2024, eq. 1).",
    uses=("batches",),
    measured=True,
)
def wanda(context: ScoringContext) -> Tensors:
    # Sun et al. rank weights within each output; here, as for every criterion, within the tensor or over all tensors.
    import torch
    from torch import nn

    model = context.model(context.trained).eval()
    squares: Tensors = {}

    def record_input(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            x = inputs[0]
            features = 1 if isinstance(module, nn.Conv2d) else x.ndim - 1
            squares[name] = squares[name] + x.square().sum([d for d in range(x.ndim) if d != features])

        return hook

    modules = {name: model.get_submodule(name.removesuffix(".weight")) for name in context.names}
    for name, module in modules.items():
        weight = model.get_parameter(name).detach()
        squares[name] = weight.new_zeros(weight.shape[1] * count_groups(module))  # a layer may get no input
        module.register_forward_pre_hook(record_input(name))
    with torch.no_grad():
        for images, _ in context.batches():
            model(images)
    scores = {}
    for name, module in modules.items():
        weight = model.get_parameter(name).detach()
        groups = count_groups(module)
        # A filter of a grouped convolution reads the inputs of its own group only.
        norms = squares[name].sqrt().view(groups, -1).repeat_interleave(len(weight) // groups, 0)
        scores[name] = (weight.abs() * norms.view(*norms.shape, *[1] * (weight.ndim - 2))).cpu()
    return scores


def count_groups(module: nn.Module) -> int:
    """The groups of a grouped convolution; 1 of a linear layer."""
    return int(getattr(module, "groups", 1))
