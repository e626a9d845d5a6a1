"""How pictures and filters lie in memory: chosen by device, precision and processor, never by a timing at start."""

from __future__ import annotations

import torch


def layout(device: torch.device, precision: str) -> torch.memory_format:
    """Channels last, which convolutions want, but for float32 on processors with AMX.

    There oneDNN's float32 convolutions are faster on contiguous memory, which it lays out in blocks of its own
    (docs/performance.md).
    """
    if device.type == "cpu" and precision == "float32":
        cpu: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
        if cpu.get("amx_bf16"):
            return torch.contiguous_format
    return torch.channels_last
