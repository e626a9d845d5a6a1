"""The networks of Frankle & Carbin 2019, figure 2."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from lthrun.config.pruning import LayerSelection
from lthrun.models import build_meta_model, build_model
from lthrun.sparsity.layer_selection import select_prunable


# Weights of the whole network and of its convolutions, on MNIST and on CIFAR-10. The figure says 1.7 M of Conv-6, which
# its own list of layers does not come to: 1.1 M in convolutions, and 4096·256 + 256·256 + 256·10 behind them.
@pytest.mark.parametrize(
    "name, channels, size, weights, convolutional",
    [
        ("lenet300", 1, 28, 266e3, 0),
        ("conv2", 3, 32, 4.3e6, 38e3),
        ("conv4", 3, 32, 2.4e6, 260e3),
        ("conv6", 3, 32, 1.144512e6 + 4096 * 256 + 256 * 256 + 2560, 1.1e6),
    ],
)
def test_sizes_are_those_of_the_paper(name: str, channels: int, size: int, weights: float, convolutional: float):
    model = build_model(name, 10, 0, channels=channels, image_size=size)
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert sum(m.weight.numel() for m in layers) == pytest.approx(weights, rel=0.03)
    assert sum(m.weight.numel() for m in layers if isinstance(m, nn.Conv2d)) == pytest.approx(convolutional, rel=0.05)
    assert [m.out_features for m in layers if isinstance(m, nn.Linear)] == (
        [300, 100, 10] if name == "lenet300" else [256, 256, 10]
    )
    assert model(torch.rand(2, channels, size, size)).shape == (2, 10)
    for m in layers:
        receptive = math.prod(m.weight.shape[2:])
        deviation = math.sqrt(2 / ((m.weight.shape[0] + m.weight.shape[1]) * receptive))
        assert m.weight.std().item() == pytest.approx(deviation, rel=0.15) and m.weight.mean().abs() < deviation / 5
        assert not m.bias.any()


def test_lenet300_is_three_matrix_products():
    model = build_model("lenet300", 10, 0, channels=1, image_size=28)
    images = torch.rand(3, 1, 28, 28)
    x = images.flatten(1)
    for layer in ("fc1", "fc2"):
        x = (x @ model.get_parameter(f"{layer}.weight").T + model.get_parameter(f"{layer}.bias")).clamp(min=0)
    x = x @ model.get_parameter("fc3.weight").T + model.get_parameter("fc3.bias")
    assert torch.allclose(model(images), x, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "expected"), [("lenet300", ["fc1.weight", "fc2.weight"]), ("conv2", ["conv1.weight", "conv2.weight"])]
)
def test_by_default_the_linear_layers_of_a_model_without_convolutions_are_pruned(name: str, expected: list[str]):
    assert select_prunable(build_meta_model(name, 10, 1, 28), LayerSelection()) == expected
