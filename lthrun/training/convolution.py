"""Convolutions of small pictures as matrix products, in bfloat16 on the CPU.

Deep in a network pictures are a few pixels wide and channels are many. There oneDNN's bfloat16 convolutions, above all
those for the gradient of the weight, run at a third to a half of the rate of a plain matrix product of the same size.
So the pixels that a filter sees are laid out in columns [batch · height · width, kernel · kernel · in], and forward
and weight gradient are one product each. Bounds are those at which the product was measured to win, on a processor
with bfloat16 instructions (docs/performance.md); elsewhere, and in float32, torch's convolutions stay.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

# Pixels of the output picture up to which the product wins.
FORWARD, WEIGHT_GRADIENT = 4, 16


def supported(device: torch.device, precision: str) -> bool:
    """Whether there are bfloat16 instructions to be used."""
    if device.type != "cpu" or precision != "bfloat16":
        return False
    cpu: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(cpu.get("avx512_bf16") or cpu.get("amx_bf16"))


def columns(x: Tensor, kernel: int, stride: int, padding: int, height: int, width: int) -> Tensor:
    """What each place of a [height, width] output sees of x [batch, in, …], as rows of a matrix."""
    seen = (pad(x, (padding,) * 4) if padding else x).permute(0, 2, 3, 1)
    n, down, across, channel = seen.stride()
    size = (len(x), height, width, kernel, kernel, x.shape[1])
    steps = (n, down * stride, across * stride, down, across, channel)
    return seen.as_strided(size, steps).reshape(len(x) * height * width, -1)


class Product(torch.autograd.Function):
    """A convolution without bias, dilation and groups; x [batch, in, …] and weight [out, in, k, k] in bfloat16."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        kernel = weight.shape[2]
        height, width = ((side + 2 * padding - kernel) // stride + 1 for side in x.shape[2:])
        if height * width > FORWARD:
            return torch.nn.functional.conv2d(x, weight, None, stride, padding)
        seen = columns(x, kernel, stride, padding, height, width)
        found = seen @ weight.permute(0, 2, 3, 1).reshape(len(weight), -1).t()
        return found.view(len(x), height, width, -1).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        out, inputs, kernel, _ = weight.shape
        height, width = gradient.shape[2:]
        by_product = height * width <= WEIGHT_GRADIENT
        wanted = (ctx.needs_input_grad[0], ctx.needs_input_grad[1] and not by_product, False)
        sides = ([ctx.stride] * 2, [ctx.padding] * 2, [1, 1])
        to_x, to_weight, _ = torch.ops.aten.convolution_backward(
            gradient, x, weight, None, *sides, False, [0, 0], 1, wanted
        )
        if by_product and ctx.needs_input_grad[1]:
            rows = gradient.permute(0, 2, 3, 1).reshape(-1, out)
            seen = columns(x, kernel, ctx.stride, ctx.padding, height, width)
            to_weight = (rows.t() @ seen).view(out, kernel, kernel, inputs).permute(0, 3, 1, 2)
        return to_x, to_weight, None, None


def forward(module: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """In place of nn.Conv2d._conv_forward, under autocast."""
    found: Tensor = Product.apply(x.bfloat16(), weight.bfloat16(), module.stride[0], module.padding[0])
    return found


def use_products(model: nn.Module) -> None:
    """Let the convolutions of a model that can, work by products where these win."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and convertible(module):
            module._conv_forward = MethodType(forward, module)  # type: ignore[method-assign]


def convertible(module: nn.Conv2d) -> bool:
    if isinstance(module.padding, str) or module.groups > 1 or module.bias is not None:
        return False
    square = all(len(set(sides)) == 1 for sides in (module.kernel_size, module.stride, module.padding))
    return square and module.dilation == (1, 1) and module.padding_mode == "zeros"
