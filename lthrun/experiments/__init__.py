"""Experiments: what is trained, what is evaluated after it, what is reported. One file and one entry each.

Importing this package fills every table of lthrun.registry; it does not import torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import lthrun.data
import lthrun.executors
import lthrun.models
import lthrun.sparsity
import lthrun.training.learning_rates
import lthrun.training.optimizers  # noqa: F401
from lthrun.config import loading
from lthrun.config.base import ExperimentConfig

# isort: off
# In the order of help and lists; importing an experiment enters it into EXPERIMENTS.
from lthrun.experiments import baseline, ticket, prune, supermask, compare, connectivity  # noqa: F401

# isort: on
from lthrun.experiments.driver import Result, execute, run_experiment
from lthrun.experiments.experiment import EXPERIMENTS
from lthrun.experiments.resuming import resume_run
from lthrun.storage.run_dir import RunDir

__all__ = ["EXPERIMENTS", "Result", "execute", "load_config", "read_config", "resume_run", "run_experiment"]


def load_config(
    source: str | Path | None = None,
    experiment: str | None = None,
    sets: Iterable[str] = (),
    options: Mapping[str, Any] | None = None,
) -> ExperimentConfig:
    """The config of an experiment; see lthrun.config.loading."""
    configs = {name: entry.make for name, entry in EXPERIMENTS.items()}
    return loading.load_config(configs, source, experiment, sets, options)


def read_config(run_dir: Path, options: Mapping[str, Any] | None = None) -> ExperimentConfig:
    """The config that a run was started with; `options` override it."""
    RunDir(run_dir).check_is_run()
    return load_config(run_dir / "config.yaml", options=options)
