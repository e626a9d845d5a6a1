"""What numbers may depend on besides the settings: versions and hardware."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from typing import Any

import torch
import torchvision

from lthrun.version import __version__


def describe_environment(device: torch.device) -> dict[str, Any]:
    return {
        "lthrun": __version__,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
    }


def list_environment_differences(other: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """What another environment has other than one's own, as `torch 2.13.0 (here 2.14.1)`; unknown keys are left
    out."""
    return [f"{key} {other[key]} (here {own[key]})" for key in own if key in other and other[key] != own[key]]
