"""What numbers may depend on besides the settings: versions and hardware."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from typing import Any

import torch
import torchvision

import lthrun


def environment(device: torch.device) -> dict[str, Any]:
    """What the numbers may depend on besides the settings."""
    return {
        "lthrun": lthrun.__version__,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
    }


def environment_differences(other: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """What sets another environment apart from one's own, as `torch 2.13.0 (here 2.14.1)`; nothing where it is not
    known."""
    return [f"{key} {other[key]} (here {own[key]})" for key in own if key in other and other[key] != own[key]]
