"""Models by name. Initialisation is a function of the seed alone, drawn on the CPU for every device."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lthrun.streams import derive

if TYPE_CHECKING:
    from torch import nn


def resnet18(classes: int) -> nn.Module:
    """torchvision's ResNet-18 (He et al. 2016), without pretrained weights."""
    from torchvision.models import resnet18

    model: nn.Module = resnet18(weights=None, num_classes=classes)
    return model


MODELS: dict[str, Callable[[int], nn.Module]] = {"resnet18": resnet18}


def build(name: str, classes: int, seed: int) -> nn.Module:
    """The model `name` on the CPU, freshly initialised from `seed`; the global random state is left as it was."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "init"))
        return MODELS[name](classes)


def prunable_shapes(name: str, classes: int) -> dict[str, tuple[int, ...]]:
    """The shapes of the prunable tensors, without making the model."""
    import torch

    with torch.device("meta"):
        model = MODELS[name](classes)
    return {tensor: tuple(model.get_parameter(tensor).shape) for tensor in prunable(model)}


def prunable(model: nn.Module) -> list[str]:
    """Names of the tensors that are pruned: the weights of the convolutions; not batch norm, not `fc`."""
    from torch import nn

    return [f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
