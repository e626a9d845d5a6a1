"""A level's key: a hash of what determines its numbers, and of nothing else.

It names a level's parent and start by their keys, so every key is known before anything is trained, and a level that
any run has finished is reused by the next one that needs it. What a named choice contributes, its entry declares
(lthrun.registry).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lthrun.config.base import ExperimentConfig
from lthrun.config.pruning import LayerSelection, SparsitySettings
from lthrun.config.sections import Training
from lthrun.models import MODELS
from lthrun.sparsity.criteria import CRITERIA
from lthrun.sparsity.granularities import GRANULARITIES
from lthrun.storage.files import FORMAT
from lthrun.training.learning_rates import LEARNING_RATES
from lthrun.training.optimizers import OPTIMIZERS


@dataclass(frozen=True)
class Conditions:
    """What all levels of a run have in common.

    Attributes:
        data: identity of the images and their split.
        epoch_steps: training steps of an epoch.
        device: its type: `cpu`, `cuda` or `mps`.
        precision: resolved, `float32` or `bfloat16`.
        deterministic: whether only deterministic kernels are used, where that makes a difference.
        others: of levels whose config has another `data.split_seed`, by that seed.
    """

    data: dict[str, Any]
    epoch_steps: int
    device: str
    precision: str
    deterministic: bool = False
    others: Mapping[int, Conditions] = field(default_factory=dict, compare=False)

    def at_split(self, split_seed: int) -> Conditions:
        """The conditions of the levels of one split."""
        return self.others.get(split_seed, self)


def make_key(config: ExperimentConfig, conditions: Conditions, span: int, **facts: Any) -> str:
    """The key of a level whose learning-rate schedule spans `span` steps; `facts` are its start, mask and steps."""
    everything = {
        "format": FORMAT,
        "data": conditions.data,
        "model": MODELS.key_facts(config.model.name, config.model),
        "training": training_facts(config.training, span),
        "seed": config.seed,
        "precision": conditions.precision,
        "device": conditions.device,
        **({"deterministic": True} if conditions.deterministic else {}),
        **facts,
    }
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()[:16]


def training_facts(training: Training, span: int) -> dict[str, Any]:
    """How a step is trained; the number of epochs is not part of it."""
    facts: dict[str, Any] = {"batch_size": training.batch_size, "learning_rate": training.learning_rate}
    facts["optimizer"] = OPTIMIZERS.key_facts(training.optimizer, training)
    if training.anneals:
        schedule = LEARNING_RATES.key_facts(training.schedule, training)
        facts["learning_rate_schedule"] = {"span": span, "warmup": training.warmup, **schedule}
    if training.evaluate_every:
        facts["interim_evaluations"] = [training.evaluate_every, training.evaluate_images]
    return facts


def mask_facts(settings: SparsitySettings) -> dict[str, Any]:
    """The rules by which a mask is made, beside its sparsity."""
    is_named = settings.granularity in GRANULARITIES  # n:m is not
    facts = {
        "criterion": CRITERIA.key_facts(settings.criterion, settings),
        "granularity": GRANULARITIES.key_facts(settings.granularity, settings) if is_named else settings.granularity,
        "context": settings.context,
        **selection_facts(settings),
    }
    if settings.round_to > 1:
        facts["round_to"] = settings.round_to
    # Patterns in order: the first match counts.
    if settings.targets:
        facts |= {"targets": list(settings.targets.items()), "peak": settings.peak}
    if settings.rates:
        facts["rates"] = list(settings.rates.items())
    return facts


def selection_facts(selection: LayerSelection) -> dict[str, Any]:
    """Which layers are pruned, where that is not the default."""
    chosen = selection.model_dump(mode="json", include=set(LayerSelection.model_fields), exclude_defaults=True)
    return {key: sorted(value) if isinstance(value, list) else value for key, value in chosen.items()}
