"""How many threads a training on the CPU gets: one for a small network, whose operations are too short to share.

Threads of one training wait for each other after every operation; trainings in processes of their own never do. So the
levels of a small network are trained with one thread each, as many at once as there are cores. Numbers depend on the
number of threads in their last bits. Therefore it follows from the config alone, never from --jobs or from a timing.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from lthrun.models import MODELS, ModelEntry

if TYPE_CHECKING:
    from lthrun.config.base import ExperimentConfig

# Floating-point operations of the forward pass of a training batch, below which a second thread gains little
# (docs/performance.md): LeNet-300-100 with batches of 60 has 0.03e9, Conv-2 of CIFAR-10 5e9, resnet18 at 32 px 5e9.
SMALL = 1e9


def choose_threads(config: ExperimentConfig) -> int | None:
    """1 for a small network on the CPU; None where PyTorch's own number of threads stays."""
    if config.device != "cpu":
        return None
    name = config.model.name
    operations = count_operations(MODELS[name], config.data.image_size, config.training.batch_size)
    return 1 if operations < SMALL else None


@lru_cache
def count_operations(entry: ModelEntry, image_size: int, batch_size: int) -> float:
    """Floating-point operations of convolutions and linear layers in the forward pass of a batch, for images of three
    channels and ten classes.

    A model that does not run on tensors without numbers counts as large.
    """
    import torch
    from torch import nn

    counts: list[float] = []

    def count(layer: nn.Conv2d | nn.Linear, _: Any, output: torch.Tensor) -> None:
        counts.append(2.0 * output.numel() * layer.weight[0].numel())

    with torch.no_grad(), torch.device("meta"):
        model: nn.Module = entry(10, 3, image_size)
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.register_forward_hook(count)
        try:
            model(torch.empty(batch_size, 3, image_size, image_size))
        except (RuntimeError, NotImplementedError):
            return float("inf")
    return sum(counts)
