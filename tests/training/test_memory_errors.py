"""Memory that runs out is one line, whoever notices it; other errors stay what they are."""

from __future__ import annotations

import errno

import pytest
import torch

from lthrun.errors import UserError
from lthrun.training.memory_errors import explain_out_of_memory


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"),
        RuntimeError("could not create a memory object"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("can't start new thread"),
        RuntimeError("unable to mmap 9 bytes from file <pixels>: Cannot allocate memory (12)"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
    ids=lambda error: str(error)[:30],
)
def test_memory_that_runs_out_is_one_line_that_says_what_to_lower(error: Exception):
    message = r"device: cpu is out of memory; lower --jobs, training.batch_size or"
    with pytest.raises(UserError, match=message), explain_out_of_memory("cpu"):
        raise error


def test_so_is_what_pytorch_cannot_allocate():
    with pytest.raises(UserError, match="out of memory"), explain_out_of_memory("cpu"):
        torch.empty(2**50, dtype=torch.uint8)


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), OSError(errno.ENOSPC, "No space left on device")])
def test_other_errors_are_raised_as_they_are(error: Exception):
    with pytest.raises(type(error)) as found, explain_out_of_memory("cpu"):
        raise error
    assert found.value is error
