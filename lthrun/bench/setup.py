"""What the implementations share: the images on the device, and the number of steps in a round."""

from __future__ import annotations

import platform
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lthrun import models
from lthrun.config.base import ExperimentConfig
from lthrun.data import DATASETS, Images
from lthrun.data.batches import Batches
from lthrun.events import Emit
from lthrun.levels.context import RunContext, prepare
from lthrun.levels.environment import describe_environment
from lthrun.training.backend_flags import backend_flags

CPU_STEPS = 12


@dataclass(frozen=True)
class BenchmarkSetup:
    """A config's images on its device.

    Attributes:
        steps: training steps of a round.
        peers: the interpreter that has fastai and fasterai.
        stack: closes what implementations open.
    """

    context: RunContext
    batches: Batches
    steps: int
    peers: Path | None
    stack: ExitStack
    emit: Emit

    @property
    def device(self) -> torch.device:
        return self.context.device

    def make_model(self) -> nn.Module:
        config, store = self.context.config, self.context.store
        return models.build_model(
            config.model.name, len(store.classes), config.seed,
            channels=store.channels, image_size=config.data.image_size,
        )  # fmt: skip

    def find_image_folder(self) -> Path:
        """The folder of the image files; the store's names are relative to it."""
        images: Images = DATASETS[self.context.config.data.dataset](self.context.config.data)
        return images.folder

    def facts(self) -> dict[str, Any]:
        """What the figures depend on."""
        config = self.context.config
        return {
            "environment": describe_environment(self.device),
            "processor": find_processor(self.device),
            "device": str(self.device),
            "cudnn_float32": torch.backends.cudnn.conv.fp32_precision,  # type: ignore[attr-defined]
            "model": config.model.name,
            "dataset": config.data.dataset,
            "deterministic": self.context.conditions.deterministic,
            "image_size": config.data.image_size,
            "batch_size": config.training.batch_size,
            "n_train": len(self.context.split.train),
            "n_valid": len(self.context.split.valid),
            "epoch_steps": self.batches.epoch_steps,
            "steps": self.steps,
        }


def find_processor(device: torch.device) -> str:
    """The product name of the device; for a CPU also the widest instructions that PyTorch uses."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()} ({torch.backends.cpu.get_cpu_capability()})"


def prepare_bench(
    config: ExperimentConfig, stack: ExitStack, emit: Emit, steps: int | None = None, peers: Path | None = None
) -> BenchmarkSetup:
    """Load the images onto the device, and set the flags of a run until `stack` is closed.

    A round is a whole epoch on CUDA and a few steps on the CPU, unless `steps` says otherwise; never more than an
    epoch.
    """
    context = prepare(config, emit)
    stack.enter_context(backend_flags(context.device, config.deterministic))
    batches = Batches(
        context.store, context.split, config.data, config.training.batch_size, config.seed, context.device
    )
    if steps is None:
        steps = batches.epoch_steps if context.device.type == "cuda" else CPU_STEPS
    return BenchmarkSetup(context, batches, min(steps, batches.epoch_steps), peers, stack, emit)
