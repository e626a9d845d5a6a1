"""Convolutions of small images as matrix products, in bfloat16 on the CPU.

Deep in a network images are a few pixels wide and channels are many. There oneDNN's bfloat16 convolutions, above all
those for the gradient of the weight, run at a third of the rate of a plain matrix product of the same size, down to a
tenth on processors with AMX. So the input is unrolled into columns [batch · height · width, kernel · kernel · in]
(im2col): the output and the gradient of the weight are one matrix product each, and the gradient of the input is the
product that gives the gradient of the columns, summed where columns overlap (col2im). A product is used where it was
measured to be faster, which depends on the processor and on the shapes alone (docs/performance.md); otherwise, and
always in float32, PyTorch's convolutions stay.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad


class ConvShape(NamedTuple):
    """Side of the square filter, its stride, the number of filters, and the pixels of an output channel."""

    kernel: int
    stride: int
    filters: int
    pixels: int


class ProductRules(NamedTuple):
    """For which convolutions the output and the two gradients are computed as matrix products."""

    output: Callable[[ConvShape], bool]
    input_gradient: Callable[[ConvShape], bool]
    weight_gradient: Callable[[ConvShape], bool]


def is_deep(shape: ConvShape) -> bool:
    """As in the last layers of a network: 512 filters at 4x4 pixels, 128 at 2x2."""
    return shape.filters >= 32 * shape.pixels


# By the processor's instructions, the best first.
RULES = {
    "amx_bf16": ProductRules(
        output=lambda shape: is_deep(shape) or (shape.kernel == 1 and shape.pixels <= 64),
        input_gradient=lambda shape: is_deep(shape) or (shape.kernel == shape.stride == 1 and shape.pixels <= 64),
        weight_gradient=lambda shape: shape.kernel == 1 or shape.pixels <= 16,
    ),
    "avx512_bf16": ProductRules(
        output=lambda shape: shape.pixels <= 4,
        input_gradient=lambda shape: False,
        weight_gradient=lambda shape: shape.pixels <= 16,
    ),
}


def find_rules(device: torch.device, precision: str) -> ProductRules | None:
    """The rules of this processor; None on other devices, in float32 and without bfloat16 instructions."""
    if device.type != "cpu" or precision != "bfloat16":
        return None
    cpu: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return next((rules for instructions, rules in RULES.items() if cpu.get(instructions)), None)


def pixels_as_rows(images: Tensor) -> Tensor:
    """[batch, channels, height, width] as [batch · height · width, channels]."""
    return images.permute(0, 2, 3, 1).reshape(-1, images.shape[1])


def filters_as_rows(weight: Tensor) -> Tensor:
    """[out, in, k, k] as [out, k · k · in]."""
    return weight.permute(0, 2, 3, 1).reshape(len(weight), -1)


def im2col(x: Tensor, kernel: int, stride: int, padding: int, height: int, width: int) -> Tensor:
    """The patch of x [batch, in, …] under the filter at each place of a [height, width] output, as matrix rows."""
    padded = (pad(x, (padding,) * 4) if padding else x).permute(0, 2, 3, 1)
    n, down, across, channel = padded.stride()
    size = (len(x), height, width, kernel, kernel, x.shape[1])
    strides = (n, down * stride, across * stride, down, across, channel)
    return padded.as_strided(size, strides).reshape(len(x) * height * width, -1)


def col2im(columns: Tensor, x: Tensor, kernel: int, stride: int, padding: int, height: int, width: int) -> Tensor:
    """The transpose of `im2col`: patches summed where they overlap, in the shape of x."""
    if kernel == stride == 1 and not padding:
        return columns.view(len(x), height, width, -1).permute(0, 3, 1, 2)
    patches = columns.view(len(x), height, width, kernel, kernel, -1)
    total = torch.zeros(len(x), *x.shape[2:], x.shape[1])  # summed in float32
    for i in range(kernel):
        down, pixels_down = places_inside(i - padding, stride, height, x.shape[2])
        for j in range(kernel):
            across, pixels_across = places_inside(j - padding, stride, width, x.shape[3])
            total[:, pixels_down, pixels_across] += patches[:, down, across, i, j]
    return total.to(columns.dtype).permute(0, 3, 1, 2)


def places_inside(offset: int, stride: int, places: int, side: int) -> tuple[slice, slice]:
    """The places p < `places` whose pixel offset + stride · p lies within a side of `side` pixels, and those pixels."""
    first = max(0, -(offset // stride))
    last = max(first, min(places, (side - 1 - offset) // stride + 1))
    start = offset + stride * first
    return slice(first, last), slice(start, start + stride * (last - first), stride)


class Convolution(torch.autograd.Function):
    """A convolution without bias, dilation and groups; x [batch, in, …] and weight [out, in, k, k] in bfloat16."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int, rules: ProductRules) -> Tensor:
        out, _, kernel, _ = weight.shape
        height, width = ((side + 2 * padding - kernel) // stride + 1 for side in x.shape[2:])
        ctx.save_for_backward(x, weight)
        ctx.geometry, ctx.rules = (kernel, stride, padding, height, width), rules
        ctx.shape = ConvShape(kernel, stride, out, height * width)
        if not rules.output(ctx.shape):
            return conv2d(x, weight, None, stride, padding)
        product = im2col(x, *ctx.geometry) @ filters_as_rows(weight).t()
        return product.view(len(x), height, width, out).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        out, inputs, kernel, _ = weight.shape
        x_gradient = weight_gradient = None
        by_product = (ctx.rules.input_gradient(ctx.shape), ctx.rules.weight_gradient(ctx.shape))
        by_torch = [needed and not by for needed, by in zip(ctx.needs_input_grad, by_product, strict=False)]
        if any(by_torch):
            _, stride, padding, _, _ = ctx.geometry
            x_gradient, weight_gradient, _ = torch.ops.aten.convolution_backward(
                gradient, x, weight, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1, [*by_torch, False]
            )
        if ctx.needs_input_grad[0] and by_product[0]:
            x_gradient = col2im(pixels_as_rows(gradient) @ filters_as_rows(weight), x, *ctx.geometry)
        if ctx.needs_input_grad[1] and by_product[1]:
            product = pixels_as_rows(gradient).t() @ im2col(x, *ctx.geometry)
            weight_gradient = product.view(out, kernel, kernel, inputs).permute(0, 3, 1, 2)
        return x_gradient, weight_gradient, None, None, None


def use_matrix_products(model: nn.Module, rules: ProductRules) -> None:
    """Let the convolutions of a model that can be matrix products follow `rules`; for use under autocast."""

    def forward(module: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """In place of nn.Conv2d._conv_forward."""
        output: Tensor = Convolution.apply(x.bfloat16(), weight.bfloat16(), module.stride[0], module.padding[0], rules)
        return output

    for module in model.modules():
        if isinstance(module, nn.Conv2d) and can_be_product(module):
            module._conv_forward = MethodType(forward, module)  # type: ignore[method-assign]


def can_be_product(module: nn.Conv2d) -> bool:
    """Whether it is a convolution of the kind that `Convolution` computes."""
    if isinstance(module.padding, str) or module.groups > 1 or module.bias is not None:
        return False
    is_square = all(len(set(sides)) == 1 for sides in (module.kernel_size, module.stride, module.padding))
    return is_square and module.dilation == (1, 1) and module.padding_mode == "zeros"
