"""Memory that runs out, as one line that says what to lower."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from lthrun.errors import UserError


@contextmanager
def explain_out_of_memory(device: str) -> Iterator[None]:
    """Turn an out-of-memory error of a GPU or of the CPU into a UserError."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        is_memory = isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
        if not is_memory:
            raise
        raise UserError(
            f"device: {device} is out of memory; lower --jobs, training.batch_size or data.image_size"
        ) from error
