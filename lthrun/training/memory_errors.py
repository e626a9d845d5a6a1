"""Memory that runs out, as one line that says what to lower."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from lthrun.errors import UserError

# What PyTorch's allocators, its file mappings, oneDNN, C++ and the operating system say of it, in RuntimeErrors.
PHRASES = ("allocate memory", "out of memory", "could not create a memory", "bad_alloc", "can't start new thread")


@contextmanager
def explain_out_of_memory(device: str) -> Iterator[None]:
    """Turn an out-of-memory error of a GPU or of the CPU into a UserError."""
    try:
        yield
    except (MemoryError, OSError, RuntimeError) as error:
        is_memory = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not is_memory and not any(phrase in str(error) for phrase in PHRASES):
            raise
        raise UserError(
            f"device: {device} is out of memory; lower --jobs, training.batch_size or data.image_size"
        ) from error
