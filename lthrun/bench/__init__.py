"""The benchmark: how near an epoch is to what the machine can do, and what others need for the same."""

from __future__ import annotations

import platform
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lthrun.bench.contest import compete
from lthrun.bench.contestants import CONTESTANTS, Arena
from lthrun.bench.summary import summarise
from lthrun.config import Config
from lthrun.data.batches import Batches
from lthrun.errors import UserError
from lthrun.experiments.execution import environment
from lthrun.experiments.setting import Emit, Setting, bring
from lthrun.training.switches import switches

CPU_STEPS = 12


@dataclass(frozen=True)
class Ready:
    """A config's images on its device, and how many steps a turn takes."""

    setting: Setting
    batches: Batches
    steps: int

    def facts(self) -> dict[str, Any]:
        """What the figures depend on."""
        config = self.setting.config
        return {
            "environment": environment(self.setting.device),
            "processor": processor(self.setting.device),
            "device": str(self.setting.device),
            "cudnn_float32": torch.backends.cudnn.conv.fp32_precision,  # type: ignore[attr-defined]
            "model": config.model.name,
            "dataset": config.data.dataset,
            "deterministic": self.setting.ground.deterministic,
            "image_size": config.data.image_size,
            "batch_size": config.training.batch_size,
            "n_train": len(self.setting.train),
            "n_valid": len(self.setting.valid),
            "epoch_steps": self.batches.epoch_steps,
            "steps": self.steps,
        }


def processor(device: torch.device) -> str:
    """What the device is sold as, and of a CPU the widest instructions that PyTorch uses there."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()} ({torch.backends.cpu.get_cpu_capability()})"


def prepare(config: Config, steps: int | None, emit: Emit, closing: ExitStack) -> Ready:
    """The images brought to the device, with the switches of a run until `closing`. A turn is a whole epoch on CUDA and
    a few steps on the CPU, unless said."""
    setting = bring(config, emit)
    closing.enter_context(switches(setting.device, config.deterministic))
    batches = Batches(
        setting.store, setting.train, setting.valid, config.training.batch_size, config.seed, setting.device
    )
    if steps is None:
        steps = batches.epoch_steps if setting.device.type == "cuda" else CPU_STEPS
    return Ready(setting, batches, min(steps, batches.epoch_steps))


def bench(config: Config, rounds: int, steps: int | None, peers: Path | None, emit: Emit) -> dict[str, Any]:
    """All contestants in one run, taking turns; every timing, and what follows from them."""
    with ExitStack() as closing:
        ready = prepare(config, steps, emit, closing)
        arena = Arena(ready.setting, ready.batches, peers, closing, emit)
        try:
            contestants = [contestant for maker in CONTESTANTS.values() for contestant in maker(arena)]
            compete(contestants, rounds, ready.steps, emit)
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"device: {ready.setting.device} is out of memory; lower training.batch_size or data.image_size"
            ) from error
        facts = ready.facts() | {"rounds": rounds, "precision": ready.setting.ground.precision}
    return facts | summarise(contestants, facts)


def profile(config: Config, steps: int | None, emit: Emit) -> dict[str, Any]:
    """Where the time of a training step goes, in the precision that the config has on this device."""
    from lthrun.bench import parts

    with ExitStack() as closing:
        ready = prepare(config, steps, emit, closing)
        emit("busy", doing=f"timing {ready.steps} steps, part by part")
        return ready.facts() | parts.profile(ready.setting, ready.batches, ready.steps)
