"""Models by name: they build, have the published sizes, train at 64 pixels, and have gray images' one channel."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from lthrun.config.pruning import LayerSelection
from lthrun.errors import UserError
from lthrun.experiments import load_config
from lthrun.models import MODELS, build_model
from lthrun.sparsity.layer_selection import select_prunable

# With 1,000 classes, from torchvision's own pages.
PUBLISHED = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "wide_resnet50_2": 68_883_240,
    "resnext50_32x4d": 25_028_904,
    "vgg11_bn": 132_868_840,
    "vgg16_bn": 138_365_992,
    "densenet121": 7_978_856,
    "mobilenet_v2": 3_504_872,
    "mobilenet_v3_small": 2_542_856,
    "mobilenet_v3_large": 5_483_032,
    "efficientnet_b0": 5_288_548,
    "efficientnet_b1": 7_794_184,
    "convnext_tiny": 28_589_128,
    "convnext_small": 50_223_688,
}


def parameters(name: str, classes: int) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in MODELS[name](classes, 3, 64).parameters())


@pytest.mark.parametrize("name", MODELS)
def test_each_model_has_its_line_its_classes_and_something_to_prune(name: str):
    assert MODELS[name].about and "\n" not in MODELS[name].about
    with torch.device("meta"):
        model = MODELS[name](5, 3, 64)
    assert [m for m in model.modules() if isinstance(m, nn.Linear)][-1].out_features == 5
    assert select_prunable(model, LayerSelection(types=("conv", "linear")))


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_are_the_published_ones(name: str):
    assert parameters(name, 1000) == PUBLISHED[name]


@pytest.mark.parametrize("name", MODELS)
def test_each_model_trains_on_two_images_at_64_pixels_and_takes_its_smallest(name: str):
    model = build_model(name, 3, 0).train()
    logits = model(torch.rand(2, 3, 64, 64))
    loss = nn.functional.cross_entropy(logits, torch.tensor([0, 2]))
    loss.backward()
    assert logits.shape == (2, 3) and math.isfinite(loss.item())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    side = MODELS[name].smallest
    small = build_model(name, 3, 0, channels=1, image_size=side).train()
    assert small(torch.rand(2, 1, side, side)).isfinite().all()


@pytest.mark.parametrize("name", [name for name, entry in MODELS.items() if entry.smallest > 16])
def test_images_too_small_for_a_model_are_refused(name: str):
    with pytest.raises(UserError, match=f"data.image_size: found 31; model.name: {name} needs 32 pixels or more"):
        load_config(None, "ticket", options={"model.name": name, "data.image_size": 31})
    assert load_config(None, "ticket", options={"model.name": name, "data.image_size": 32})


@pytest.mark.parametrize("name", ["resnet18", "vgg11_bn", "densenet121", "mobilenet_v3_small", "convnext_tiny"])
def test_a_torchvision_model_with_one_channel_is_the_same_function_of_gray_images(name: str):
    gray = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        one = build_model(name, 3, 0, channels=1, image_size=32).eval()(gray)
        three = build_model(name, 3, 0, image_size=32).eval()(gray.expand(2, 3, 32, 32))
    assert torch.allclose(one, three, atol=1e-4)


def test_resnet20_is_that_of_the_paper():
    model = build_model("resnet20", 10, 0)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert sum(p.numel() for p in model.parameters()) == 269_722, "0.27 M in the paper's table 6"
    assert len(convolutions) + 1 == 20
    assert [m.out_channels for m in convolutions] == [16] * 7 + [32] * 6 + [64] * 6
    for m in convolutions[1:]:
        assert m.weight.std().item() == pytest.approx(math.sqrt(2 / (9 * m.in_channels)), rel=0.08)


def test_resnet20_shortcuts_take_every_second_pixel_and_pad_with_zeros():
    model = build_model("resnet20", 10, 0).eval()
    block = model.get_submodule("blocks.3")
    nn.init.zeros_(block.get_parameter("conv2.weight"))  # nothing is left but the shortcut
    x = torch.rand(1, 16, 9, 9)
    out = block(x)
    assert out.shape == (1, 32, 5, 5) and torch.equal(out[:, :16], x[:, :, ::2, ::2]) and not out[:, 16:].any()


QUICK = ("resnet20", "mobilenet_v3_small", "densenet121")


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in MODELS])
def test_each_model_is_pruned_and_rewound_through_the_command_line(name: str, lthrun: Callable, images: Path):
    """Filters, since what goes with a filter is found by walking the model's graph."""
    outcome = lthrun(
        "ticket", "--model", name, "--granularity", "filter", "--steps", "1", "--epochs", "1", "--json", "--data-dir", images,
        "--set", "data.image_size=32", "--set", "training.batch_size=40",
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    summary = json.loads(outcome.out)
    for layer, (removed, total) in summary["levels"][1]["layers"].items():
        filters = build_model(name, 2, 0).get_parameter(layer).shape[0] if removed * 2 != total else 2
        assert removed == round(filters / 2) * (total // filters), layer
