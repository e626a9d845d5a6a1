"""Convolutions as products: the same numbers as torch's, where they take its place, and nothing else is touched."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn

from lthrun.config.sections import Training
from lthrun.models import build_model
from lthrun.training import convolution
from lthrun.training.convolution import PRODUCTS
from lthrun.training.engine import Engine

CPU = torch.device("cpu")


def gradients(conv: nn.Module, x: Tensor, pull: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """Output, and gradients of input and weight."""
    x = x.to(dtype).to(memory_format=torch.channels_last).requires_grad_()
    conv.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        found = conv(x)
    found.backward(pull.to(found.dtype))
    return [found.detach().double(), x.grad.double(), conv.weight.grad.double()]


ALWAYS = convolution.Products(*[lambda _: True] * 3)


@pytest.mark.parametrize("by", [ALWAYS, *PRODUCTS.values()], ids=["always", *PRODUCTS])
@given(
    st.integers(1, 5), st.integers(1, 9), st.integers(1, 140), st.sampled_from([1, 3, 5]), st.integers(1, 3),
    st.booleans(), st.integers(1, 6), st.integers(1, 6), st.integers(0, 99),
)  # fmt: skip
def test_products_are_the_convolution_rounded(by, batch, inputs, out, kernel, stride, padded, height, width, seed):
    """Against float64, whichever of the output and the gradients are products. (torch's own weight gradient is no
    measure here: of a picture of one pixel, oneDNN's bfloat16 leaves what the filter never meets as it finds it in
    memory, now and then NaN.)"""
    assume(padded or min(height, width) >= kernel)
    torch.manual_seed(seed)
    padding = kernel // 2 if padded else 0
    conv = nn.Conv2d(inputs, out, kernel, stride, padding, bias=False).to(memory_format=torch.channels_last)
    conv.weight.data = conv.weight.data.bfloat16().float()
    x = torch.randn(batch, inputs, height, width).bfloat16().float()
    pull = torch.randn_like(conv(x)).bfloat16().float()
    exact = nn.Conv2d(inputs, out, kernel, stride, padding, bias=False).double()
    exact.load_state_dict(conv.state_dict())
    right = gradients(exact, x, pull, torch.float64)
    convolution.use_products(conv, by)
    assert "_conv_forward" in conv.__dict__
    for found, reference in zip(gradients(conv, x, pull, torch.bfloat16), right, strict=True):
        assert (found - reference).norm() <= 2**-7 * reference.norm() + 1e-6


@pytest.mark.parametrize("instructions", PRODUCTS)
def test_the_gradients_of_resnet18_are_as_near_to_float32s_as_torchs(
    instructions: str, monkeypatch: pytest.MonkeyPatch
):
    torch.manual_seed(0)
    images, labels = torch.rand(16, 3, 32, 32).to(memory_format=torch.channels_last), torch.randint(0, 2, (16,))

    def gradient(precision: str, cpu: dict[str, bool]) -> Tensor:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: cpu, raising=False)
        engine = Engine(build_model("resnet18", 2, 0), Training(), CPU, precision, {})
        replaced = [name for name, module in engine.model.named_modules() if "_conv_forward" in module.__dict__]
        assert len(replaced) == (20 if cpu else 0)
        engine.model.train()
        with engine.autocast():
            nn.functional.cross_entropy(engine.model(images), labels).backward()
        return torch.cat([p.grad.flatten() for p in engine.model.parameters()])

    exact = gradient("float32", {})
    stock, fast = ((gradient("bfloat16", cpu) - exact).norm() / exact.norm() for cpu in ({}, {instructions: True}))
    assert fast <= 1.25 * stock, (fast, stock)


def test_the_processor_chooses(monkeypatch: pytest.MonkeyPatch):
    def on(*instructions: str) -> convolution.Products | None:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(instructions, True), raising=False)
        return convolution.products(CPU, "bfloat16")

    assert on("avx2", "avx512_bf16", "amx_bf16") is PRODUCTS["amx_bf16"]
    assert on("avx2", "avx512_bf16") is PRODUCTS["avx512_bf16"]
    assert on("avx2") is None


@pytest.mark.parametrize(
    "kernel,stride,filters,side,amx,avx512",
    [
        (3, 1, 64, 16, "", ""), (3, 2, 128, 8, "", ""), (1, 2, 128, 8, "forward weight", ""),
        (3, 1, 256, 4, "weight", "weight"), (3, 1, 512, 4, "forward x weight", "weight"),
        (3, 1, 320, 4, "weight", "weight"), (3, 1, 128, 2, "forward x weight", "forward weight"),
        (1, 1, 64, 16, "weight", ""), (1, 1, 64, 8, "forward x weight", ""), (3, 2, 512, 2, "forward x weight", "forward weight"),
        (3, 1, 64, 2, "weight", "forward weight"), (7, 2, 64, 32, "", ""),
    ],
)  # fmt: skip
def test_shapes_choose(kernel: int, stride: int, filters: int, side: int, amx: str, avx512: str):
    shape = convolution.Shape(kernel, stride, filters, side * side)
    for instructions, right in [("amx_bf16", amx), ("avx512_bf16", avx512)]:
        by = PRODUCTS[instructions]
        chosen = {"forward": by.forward(shape), "x": by.to_x(shape), "weight": by.to_weight(shape)}
        assert [name for name, product in chosen.items() if product] == right.split()


def test_float32_and_processors_without_bfloat16_keep_torchs(monkeypatch: pytest.MonkeyPatch):
    assert not convolution.products(CPU, "float32")
    assert not convolution.products(torch.device("cuda"), "bfloat16")
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
    assert not convolution.products(CPU, "bfloat16")
    engine = Engine(build_model("resnet18", 2, 0), Training(), CPU, "bfloat16", {})
    assert not any("_conv_forward" in module.__dict__ for module in engine.model.modules())


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(4, 4, 3, groups=2, bias=False), nn.Conv2d(4, 4, 3, dilation=2, bias=False), nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 4, (1, 3), bias=False), nn.Conv2d(4, 4, 3, padding="same", bias=False),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect", bias=False),
    ],
)  # fmt: skip
def test_convolutions_of_other_kinds_are_left_alone(module: nn.Conv2d):
    convolution.use_products(module, ALWAYS)
    assert "_conv_forward" not in module.__dict__
