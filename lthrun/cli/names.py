"""The tables of names: what a config can choose, with one line on each. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lthrun.data import AUGMENTATIONS, DATASETS
from lthrun.executors import EXECUTORS
from lthrun.experiments.arms import ARMS
from lthrun.models import MODELS
from lthrun.sparsity.criteria import CRITERIA
from lthrun.sparsity.granularities import GRANULARITIES
from lthrun.sparsity.resets import PRUNED, RESETS
from lthrun.sparsity.schedules import SCHEDULES
from lthrun.training.learning_rates import LEARNING_RATES
from lthrun.training.optimizers import OPTIMIZERS


def about(entry: Any) -> str:
    """One line on a table's entry: its `about`, itself if it is text, or the first line of its docstring."""
    if isinstance(entry, str):
        return entry
    return str(getattr(entry, "about", None) or (entry.__doc__ or "").strip().splitlines()[0])


def lines(table: Mapping[str, Any]) -> dict[str, str]:
    return {name: about(entry) for name, entry in table.items()}


METHODS = {
    "lth": "The ticket's mask: the weights are trained to find it (Zhou et al. 2019, section 5).",
    "edge-popup": "Scores are trained, weights never; the top share per layer stays (Ramanujan et al. 2020).",
    "bernoulli": "Each weight stays with a learned probability (Zhou et al. 2019, section 5.2).",
}
TABLES: dict[str, tuple[str, dict[str, str]]] = {
    "criteria": ("pruning.criterion", lines(CRITERIA)),
    "granularities": (
        "pruning.granularity",
        lines(GRANULARITIES)
        | {"n:m": "Of every m weights along the input channels, n stay, e.g. 2:4 (Mishra et al. 2021)."},
    ),
    "schedules": ("pruning.schedule", lines(SCHEDULES)),
    "resets": ("rewind.kept", lines(RESETS)),
    "pruned": ("rewind.pruned", lines(PRUNED)),
    "supermasks": ("supermask.method", METHODS),
    "rates": ("training.schedule", lines(LEARNING_RATES)),
    "optimizers": ("training.optimizer", lines(OPTIMIZERS)),
    "models": ("model.name", lines(MODELS)),
    "arms": ("compare.arms", lines(ARMS)),
    "engines": ("--engine", lines(EXECUTORS)),
    "datasets": ("data.dataset", lines(DATASETS)),
    "augmentations": ("data.augmentation", lines(AUGMENTATIONS)),
}
