"""Every random draw is a pure function of (seed, stream, position).

No draw depends on how many were made before it. That is why two arms with one seed see the same
batches whatever their masks are, and why sharing, rewinding and resuming need no stored random state.
The streams are `init`, `order`, `augmentation`, `mask` and `noise` (dropout and the like).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive_seed(seed: int, stream: str, *position: int) -> int:
    """A 63-bit seed for one draw, e.g. `derive(0, "order", epoch)`."""
    text = "/".join(map(str, (seed, stream, *position)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def make_generator(seed: int, stream: str, *position: int) -> torch.Generator:
    """A CPU generator for one draw: the same numbers on every device."""
    import torch

    return torch.Generator().manual_seed(derive_seed(seed, stream, *position))
