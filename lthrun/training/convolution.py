"""Convolutions of small pictures as matrix products, in bfloat16 on the CPU.

Deep in a network pictures are a few pixels wide and channels are many. There oneDNN's bfloat16 convolutions, above all
those for the gradient of the weight, run at a third of the rate of a plain matrix product of the same size, down to a
tenth on processors with AMX. So the pixels that a filter sees are laid out in columns
[batch · height · width, kernel · kernel · in], and forward and weight gradient are one product each; the gradient of
the input is the product that gives each column's, added up where columns overlap. Products are taken where they were
measured to win, by processor and shapes alone (docs/performance.md); elsewhere, and in float32, torch's convolutions
stay.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad


class Shape(NamedTuple):
    """Sides of the filter, its step, its number, and the pixels of the output picture."""

    kernel: int
    stride: int
    filters: int
    pixels: int


class Products(NamedTuple):
    """Of which convolutions the output and the two gradients are products."""

    forward: Callable[[Shape], bool]
    to_x: Callable[[Shape], bool]
    to_weight: Callable[[Shape], bool]


# By the instructions of the processor, the best first.
PRODUCTS = {
    "amx_bf16": Products(
        forward=lambda shape: deep(shape) or (shape.kernel == 1 and shape.pixels <= 64),
        to_x=lambda shape: deep(shape) or (shape.kernel == shape.stride == 1 and shape.pixels <= 64),
        to_weight=lambda shape: shape.kernel == 1 or shape.pixels <= 16,
    ),
    "avx512_bf16": Products(
        forward=lambda shape: shape.pixels <= 4,
        to_x=lambda shape: False,
        to_weight=lambda shape: shape.pixels <= 16,
    ),
}


def deep(shape: Shape) -> bool:
    """As the last layers of a network are: 512 filters at 4x4 pixels, 128 at 2x2."""
    return shape.filters >= 32 * shape.pixels


def products(device: torch.device, precision: str) -> Products | None:
    """Those of the processor; none where it has no bfloat16 instructions to be used."""
    if device.type != "cpu" or precision != "bfloat16":
        return None
    cpu: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return next((found for instructions, found in PRODUCTS.items() if cpu.get(instructions)), None)


def rows(picture: Tensor) -> Tensor:
    """[batch, channels, …] as [batch · height · width, channels]."""
    return picture.permute(0, 2, 3, 1).reshape(-1, picture.shape[1])


def flat(weight: Tensor) -> Tensor:
    """[out, in, k, k] as [out, k · k · in]."""
    return weight.permute(0, 2, 3, 1).reshape(len(weight), -1)


def columns(x: Tensor, kernel: int, stride: int, padding: int, height: int, width: int) -> Tensor:
    """What each place of a [height, width] output sees of x [batch, in, …], as rows of a matrix."""
    seen = (pad(x, (padding,) * 4) if padding else x).permute(0, 2, 3, 1)
    n, down, across, channel = seen.stride()
    size = (len(x), height, width, kernel, kernel, x.shape[1])
    steps = (n, down * stride, across * stride, down, across, channel)
    return seen.as_strided(size, steps).reshape(len(x) * height * width, -1)


def gathered(seen: Tensor, x: Tensor, kernel: int, stride: int, padding: int, height: int, width: int) -> Tensor:
    """The transpose of `columns`: each pixel's sum of what was seen of it, in the shape of x."""
    if kernel == stride == 1 and not padding:
        return seen.view(len(x), height, width, -1).permute(0, 3, 1, 2)
    places = seen.view(len(x), height, width, kernel, kernel, -1)
    found = torch.zeros(len(x), *x.shape[2:], x.shape[1])  # sums in float32
    for i in range(kernel):
        down, to_down = inside(i - padding, stride, height, x.shape[2])
        for j in range(kernel):
            across, to_across = inside(j - padding, stride, width, x.shape[3])
            found[:, to_down, to_across] += places[:, down, across, i, j]
    return found.to(seen.dtype).permute(0, 3, 1, 2)


def inside(offset: int, stride: int, places: int, side: int) -> tuple[slice, slice]:
    """The places p below `places` whose pixels offset + stride · p lie within a side, and those pixels."""
    first = max(0, -(offset // stride))
    last = max(first, min(places, (side - 1 - offset) // stride + 1))
    start = offset + stride * first
    return slice(first, last), slice(start, start + stride * (last - first), stride)


class Convolution(torch.autograd.Function):
    """A convolution without bias, dilation and groups; x [batch, in, …] and weight [out, in, k, k] in bfloat16."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int, by: Products) -> Tensor:
        out, _, kernel, _ = weight.shape
        height, width = ((side + 2 * padding - kernel) // stride + 1 for side in x.shape[2:])
        ctx.save_for_backward(x, weight)
        ctx.sides, ctx.by = (kernel, stride, padding, height, width), by
        ctx.shape = Shape(kernel, stride, out, height * width)
        if not by.forward(ctx.shape):
            return conv2d(x, weight, None, stride, padding)
        found = columns(x, *ctx.sides) @ flat(weight).t()
        return found.view(len(x), height, width, out).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        out, inputs, kernel, _ = weight.shape
        to_x = to_weight = None
        by_product = (ctx.by.to_x(ctx.shape), ctx.by.to_weight(ctx.shape))
        stock = [wanted and not by for wanted, by in zip(ctx.needs_input_grad, by_product, strict=False)]
        if any(stock):
            _, stride, padding, _, _ = ctx.sides
            to_x, to_weight, _ = torch.ops.aten.convolution_backward(
                gradient, x, weight, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1, [*stock, False]
            )
        if ctx.needs_input_grad[0] and by_product[0]:
            to_x = gathered(rows(gradient) @ flat(weight), x, *ctx.sides)
        if ctx.needs_input_grad[1] and by_product[1]:
            found = rows(gradient).t() @ columns(x, *ctx.sides)
            to_weight = found.view(out, kernel, kernel, inputs).permute(0, 3, 1, 2)
        return to_x, to_weight, None, None, None


def use_products(model: nn.Module, by: Products) -> None:
    """Let the convolutions of a model that can, work by products where these win; for use under autocast."""

    def forward(module: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """In place of nn.Conv2d._conv_forward."""
        found: Tensor = Convolution.apply(x.bfloat16(), weight.bfloat16(), module.stride[0], module.padding[0], by)
        return found

    for module in model.modules():
        if isinstance(module, nn.Conv2d) and convertible(module):
            module._conv_forward = MethodType(forward, module)  # type: ignore[method-assign]


def convertible(module: nn.Conv2d) -> bool:
    if isinstance(module.padding, str) or module.groups > 1 or module.bias is not None:
        return False
    square = all(len(set(sides)) == 1 for sides in (module.kernel_size, module.stride, module.padding))
    return square and module.dilation == (1, 1) and module.padding_mode == "zeros"
