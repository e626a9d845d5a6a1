"""The table of models, and how one is initialized: from the seed alone, on the CPU for every device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lthrun.registry import Entry, Table
from lthrun.rng import derive_seed

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ModelEntry(Entry):
    """`make(classes)` returns the model with random weights.

    Input is float32 [batch, 3, side, side], 0 to 1, of at least `smallest` pixels a side; output is the logits
    [batch, classes].
    """

    smallest: int = 16


MODELS = Table("models", "model.name", ModelEntry)


def build_model(name: str, classes: int, seed: int, *draw: int) -> nn.Module:
    """The model `name` on the CPU, initialized from `seed`; the global random state is left unchanged.

    Another `draw` of the same seed gives other weights.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "init", *draw))
        model: nn.Module = MODELS[name](classes)
        return model
