"""What tests of experiments read of a run's levels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lthrun.events import ignore
from lthrun.experiments import Result
from lthrun.levels.builder import LevelBuilder
from lthrun.levels.context import prepare
from lthrun.sparsity.masks import Tensors
from lthrun.storage.level_store import LevelStore
from lthrun.training.state import select_prefix


def make_builder(config: Any, out: Path) -> LevelBuilder:
    return LevelBuilder(prepare(config, ignore), LevelStore(out), ignore)


def read_level(out: Path, result: Result, level: int, name: str = "end") -> tuple[Tensors, Tensors]:
    """Parameters and buffers, and masks, in a file of the run's level."""
    tensors = LevelStore(out).read(result.summary.levels[level].key, name)
    return select_prefix("model", tensors), select_prefix("mask", tensors)
