"""The memory format of images and filters: a function of device, precision and processor, never of a timing at start.

So the same settings on the same machine always give the same numbers.
"""

from __future__ import annotations

import torch


def choose_memory_format(device: torch.device, precision: str) -> torch.memory_format:
    """Channels last, the faster format for convolutions, except for float32 on processors with AMX, and on mps.

    There oneDNN's float32 convolutions are faster on contiguous memory, which it reorders into blocked formats of its
    own (docs/performance.md).
    """
    if device.type == "mps":  # not measured there, so the format that all of PyTorch's operations are made for
        return torch.contiguous_format
    if device.type == "cpu" and precision == "float32":
        cpu: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
        if cpu.get("amx_bf16"):
            return torch.contiguous_format
    return torch.channels_last
