"""Convolutions as matrix products: the numbers of PyTorch's, and convolutions of other kinds are left alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn

from lthrun.config.sections import Training
from lthrun.models import build_model
from lthrun.training import cpu_convolution
from lthrun.training.cpu_convolution import RULES
from lthrun.training.engine import Engine

CPU = torch.device("cpu")
ALWAYS = cpu_convolution.ProductRules(*[lambda _: True] * 3)


def run_both_ways(conv: nn.Module, x: Tensor, output_gradient: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """Output, and gradients of input and weight."""
    x = x.to(dtype).to(memory_format=torch.channels_last).requires_grad_()
    conv.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        output = conv(x)
    output.backward(output_gradient.to(output.dtype))
    return [output.detach().double(), x.grad.double(), conv.weight.grad.double()]


@pytest.mark.parametrize("rules", [ALWAYS, *RULES.values()], ids=["always", *RULES])
@given(
    st.integers(1, 5), st.integers(1, 9), st.integers(1, 140), st.sampled_from([1, 3, 5]), st.integers(1, 3),
    st.booleans(), st.integers(1, 6), st.integers(1, 6), st.integers(0, 99),
)  # fmt: skip
def test_products_are_the_convolution_rounded(
    rules, batch, inputs, out, kernel, stride, is_padded, height, width, seed
):
    """Against float64, for all three products. (PyTorch's own weight gradient is no reference here: of an image of one
    pixel, oneDNN's bfloat16 leaves the filter elements that never meet it uninitialized, now and then NaN.)"""
    assume(is_padded or min(height, width) >= kernel)
    torch.manual_seed(seed)
    padding = kernel // 2 if is_padded else 0
    conv = nn.Conv2d(inputs, out, kernel, stride, padding, bias=False).to(memory_format=torch.channels_last)
    conv.weight.data = conv.weight.data.bfloat16().float()
    x = torch.randn(batch, inputs, height, width).bfloat16().float()
    output_gradient = torch.randn_like(conv(x)).bfloat16().float()
    exact = nn.Conv2d(inputs, out, kernel, stride, padding, bias=False).double()
    exact.load_state_dict(conv.state_dict())
    references = run_both_ways(exact, x, output_gradient, torch.float64)
    cpu_convolution.use_matrix_products(conv, rules)
    assert "_conv_forward" in conv.__dict__
    results = run_both_ways(conv, x, output_gradient, torch.bfloat16)
    for result, reference in zip(results, references, strict=True):
        assert (result - reference).norm() <= 2**-7 * reference.norm() + 1e-6


@pytest.mark.parametrize("instructions", RULES)
def test_gradients_of_resnet18_are_as_close_to_float32_as_those_of_pytorch(
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
    stock, product = ((gradient("bfloat16", cpu) - exact).norm() / exact.norm() for cpu in ({}, {instructions: True}))
    assert product <= 1.25 * stock, (product, stock)


def test_rules_follow_the_instructions_of_the_processor(monkeypatch: pytest.MonkeyPatch):
    def rules_with(*instructions: str) -> cpu_convolution.ProductRules | None:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(instructions, True), raising=False)
        return cpu_convolution.find_rules(CPU, "bfloat16")

    assert rules_with("avx2", "avx512_bf16", "amx_bf16") is RULES["amx_bf16"]
    assert rules_with("avx2", "avx512_bf16") is RULES["avx512_bf16"]
    assert rules_with("avx2") is None


@pytest.mark.parametrize(
    "kernel,stride,filters,side,amx,avx512",
    [
        (3, 1, 64, 16, "", ""), (3, 2, 128, 8, "", ""), (1, 2, 128, 8, "output weight", ""),
        (3, 1, 256, 4, "weight", "weight"), (3, 1, 512, 4, "output input weight", "weight"),
        (3, 1, 320, 4, "weight", "weight"), (3, 1, 128, 2, "output input weight", "output weight"),
        (1, 1, 64, 16, "weight", ""), (1, 1, 64, 8, "output input weight", ""), (3, 2, 512, 2, "output input weight", "output weight"),
        (3, 1, 64, 2, "weight", "output weight"), (7, 2, 64, 32, "", ""),
    ],
)  # fmt: skip
def test_which_products_are_used_for_a_shape(kernel: int, stride: int, filters: int, side: int, amx: str, avx512: str):
    shape = cpu_convolution.ConvShape(kernel, stride, filters, side * side)
    for instructions, expected in [("amx_bf16", amx), ("avx512_bf16", avx512)]:
        rules = RULES[instructions]
        used = {
            "output": rules.output(shape),
            "input": rules.input_gradient(shape),
            "weight": rules.weight_gradient(shape),
        }
        assert [name for name, is_product in used.items() if is_product] == expected.split()


def test_float32_and_processors_without_bfloat16_keep_pytorchs_convolutions(monkeypatch: pytest.MonkeyPatch):
    assert not cpu_convolution.find_rules(CPU, "float32")
    assert not cpu_convolution.find_rules(torch.device("cuda"), "bfloat16")
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
    assert not cpu_convolution.find_rules(CPU, "bfloat16")
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
    cpu_convolution.use_matrix_products(module, ALWAYS)
    assert "_conv_forward" not in module.__dict__
