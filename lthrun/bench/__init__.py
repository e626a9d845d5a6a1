"""The benchmark: how near an epoch is to what the machine can do, and what others need for the same."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from lthrun.bench.contestants import CONTESTANTS
from lthrun.bench.rounds import compete
from lthrun.bench.setup import prepare_bench
from lthrun.bench.summary import summarise
from lthrun.config import Config
from lthrun.errors import UserError
from lthrun.levels.context import Emit


def bench(config: Config, rounds: int, steps: int | None, peers: Path | None, emit: Emit) -> dict[str, Any]:
    """All contestants in one run, taking turns; every timing, and what follows from them."""
    with ExitStack() as closing:
        arena = prepare_bench(config, closing, emit, steps, peers)
        try:
            contestants = [contestant for maker in CONTESTANTS.values() for contestant in maker(arena)]
            compete(contestants, rounds, arena.steps, emit)
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"device: {arena.device} is out of memory; lower training.batch_size or data.image_size"
            ) from error
        facts = arena.facts() | {"rounds": rounds, "precision": arena.context.conditions.precision}
    return facts | summarise(contestants, facts)


def profile(config: Config, steps: int | None, emit: Emit) -> dict[str, Any]:
    """Where the time of a training step goes, in the precision that the config has on this device."""
    from lthrun.bench import step_profile as parts

    with ExitStack() as closing:
        arena = prepare_bench(config, closing, emit, steps)
        emit("busy", doing=f"timing {arena.steps} steps, part by part")
        return arena.facts() | parts.profile(arena)
