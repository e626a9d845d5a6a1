"""What the contestants share: images on a device, and how long a turn is."""

from __future__ import annotations

import platform
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lthrun import models
from lthrun.config import Config
from lthrun.data import DATASETS, Images
from lthrun.data.batches import Batches
from lthrun.experiments.context import Emit, RunContext, prepare
from lthrun.levels.environment import environment
from lthrun.training.backend_flags import backend_flags

CPU_STEPS = 12


@dataclass(frozen=True)
class Arena:
    """A config's images on its device, and the steps of a turn. What contestants open is closed by `closing`."""

    context: RunContext
    batches: Batches
    steps: int
    peers: Path | None
    closing: ExitStack
    emit: Emit

    @property
    def device(self) -> torch.device:
        return self.context.device

    def model(self) -> nn.Module:
        config, store = self.context.config, self.context.store
        return models.build_model(
            config.model.name, len(store.classes), config.seed,
            channels=store.channels, image_size=config.data.image_size,
        )  # fmt: skip

    def folder(self) -> Path:
        """Where the image files lie: the store's names are relative to it."""
        images: Images = DATASETS[self.context.config.data.dataset](self.context.config.data)
        return images.folder

    def facts(self) -> dict[str, Any]:
        """What the figures depend on."""
        config = self.context.config
        return {
            "environment": environment(self.device),
            "processor": processor(self.device),
            "device": str(self.device),
            "cudnn_float32": torch.backends.cudnn.conv.fp32_precision,  # type: ignore[attr-defined]
            "model": config.model.name,
            "dataset": config.data.dataset,
            "deterministic": self.context.conditions.deterministic,
            "image_size": config.data.image_size,
            "batch_size": config.training.batch_size,
            "n_train": len(self.context.train),
            "n_valid": len(self.context.valid),
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


def prepare_bench(
    config: Config, closing: ExitStack, emit: Emit, steps: int | None = None, peers: Path | None = None
) -> Arena:
    """The images brought to the device, with the switches of a run until `closing`. A turn is a whole epoch on CUDA and
    a few steps on the CPU, unless said."""
    context = prepare(config, emit)
    closing.enter_context(backend_flags(context.device, config.deterministic))
    batches = Batches(
        context.store, context.split, config.data, config.training.batch_size, config.seed, context.device
    )
    if steps is None:
        steps = batches.epoch_steps if context.device.type == "cuda" else CPU_STEPS
    return Arena(context, batches, min(steps, batches.epoch_steps), peers, closing, emit)
