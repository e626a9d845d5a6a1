"""Convolutions as products: the same numbers as torch's, where they take its place, and nothing else is touched."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from lthrun.models import build
from lthrun.sections import Training
from lthrun.training import convolution
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


@given(
    st.integers(1, 5), st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3, 5]), st.integers(1, 2),
    st.integers(1, 6), st.integers(1, 6), st.integers(0, 99),
)  # fmt: skip
def test_products_are_the_convolution_rounded(batch, inputs, out, kernel, stride, height, width, seed):
    """Against float64. (torch's own weight gradient is no measure here: of a picture of one pixel, oneDNN's bfloat16
    leaves what the filter never meets as it finds it in memory, now and then NaN.)"""
    torch.manual_seed(seed)
    conv = nn.Conv2d(inputs, out, kernel, stride, kernel // 2, bias=False).to(memory_format=torch.channels_last)
    conv.weight.data = conv.weight.data.bfloat16().float()
    x = torch.randn(batch, inputs, height, width).bfloat16().float()
    pull = torch.randn_like(conv(x)).bfloat16().float()
    exact = nn.Conv2d(inputs, out, kernel, stride, kernel // 2, bias=False).double()
    exact.load_state_dict(conv.state_dict())
    right = gradients(exact, x, pull, torch.float64)
    convolution.use_products(conv)
    assert "_conv_forward" in conv.__dict__
    for found, reference in zip(gradients(conv, x, pull, torch.bfloat16), right, strict=True):
        assert (found - reference).norm() <= 2**-7 * reference.norm() + 1e-6


def test_the_gradients_of_resnet18_are_as_near_to_float32s_as_torchs(monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(0)
    images, labels = torch.rand(16, 3, 32, 32).to(memory_format=torch.channels_last), torch.randint(0, 2, (16,))

    def gradient(precision: str, products: bool) -> Tensor:
        monkeypatch.setattr(convolution, "supported", lambda *_: products)
        engine = Engine(build("resnet18", 2, 0), Training(), CPU, precision, {})
        replaced = [name for name, module in engine.model.named_modules() if "_conv_forward" in module.__dict__]
        assert len(replaced) == (20 if products else 0)
        engine.model.train()
        with engine.autocast():
            nn.functional.cross_entropy(engine.model(images), labels).backward()
        return torch.cat([p.grad.flatten() for p in engine.model.parameters()])

    exact = gradient("float32", False)
    stock, fast = ((gradient("bfloat16", products) - exact).norm() / exact.norm() for products in (False, True))
    assert fast <= 1.25 * stock, (fast, stock)


def test_float32_and_processors_without_bfloat16_keep_torchs(monkeypatch: pytest.MonkeyPatch):
    assert not convolution.supported(CPU, "float32")
    assert not convolution.supported(torch.device("cuda"), "bfloat16")
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
    assert not convolution.supported(CPU, "bfloat16")
    engine = Engine(build("resnet18", 2, 0), Training(), CPU, "bfloat16", {})
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
    convolution.use_products(module)
    assert "_conv_forward" not in module.__dict__
