"""The benchmark: how close an epoch is to what the machine can do, and what other implementations need for the same."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from lthrun.bench.implementations import IMPLEMENTATIONS
from lthrun.bench.rounds import run_rounds, summarize
from lthrun.bench.setup import prepare_bench
from lthrun.config.base import ExperimentConfig
from lthrun.errors import UserError
from lthrun.events import Busy, Emit


def bench(config: ExperimentConfig, rounds: int, steps: int | None, peers: Path | None, emit: Emit) -> dict[str, Any]:
    """Time all implementations in interleaved rounds; every timing, and the figures that follow from them."""
    with ExitStack() as stack:
        setup = prepare_bench(config, stack, emit, steps, peers)
        try:
            implementations = [implementation for make in IMPLEMENTATIONS.values() for implementation in make(setup)]
            run_rounds(implementations, rounds, setup.steps, emit)
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"device: {setup.device} is out of memory; lower training.batch_size or data.image_size"
            ) from error
        facts = setup.facts() | {"rounds": rounds, "precision": setup.context.conditions.precision}
    return facts | summarize(implementations, facts)


def profile(config: ExperimentConfig, steps: int | None, emit: Emit) -> dict[str, Any]:
    """Where the time of a training step goes, in the precision that the config has on this device."""
    from lthrun.bench.step_profile import profile_step

    with ExitStack() as stack:
        setup = prepare_bench(config, stack, emit, steps)
        emit(Busy(f"timing {setup.steps} steps, part by part"))
        return setup.facts() | profile_step(setup)
