"""PyTorch's global switches for CUDA: set for the time of a run, and put back.

float32 is float32: no TF32, in which products have 10 bits of mantissa instead of 23, neither in matrix products nor
in convolutions (where PyTorch would take it). cuDNN may try its algorithms and take the fastest; with `deterministic`
it may not, and whatever has only kernels whose result depends on the order of threads is refused.

On the CPU none of them is touched: runs are the same to the bit there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from lthrun.errors import UserError

# cuBLAS reads it once per process, so it stays set. One of two values that make it deterministic (NVIDIA's cuBLAS
# documentation, "Results reproducibility").
WORKSPACE, WORKSPACES = "CUBLAS_WORKSPACE_CONFIG", (":4096:8", ":16:8")


@contextmanager
def backend_flags(device: torch.device, deterministic: bool) -> Iterator[None]:
    """The switches of a run on `device`.

    Raises:
        UserError: CUDA is in use already without what `deterministic` needs, or an operation is not deterministic.
    """
    if device.type != "cuda":
        yield
        return
    if deterministic and os.environ.get(WORKSPACE) not in WORKSPACES:
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            raise UserError(
                f"deterministic: found true; this process has used CUDA before without {WORKSPACE}={WORKSPACES[0]}: "
                "set it before the first use, or run in a process of its own"
            )
        os.environ[WORKSPACE] = WORKSPACES[0]
    backends: Any = torch.backends
    wanted = [
        (backends.cudnn, "benchmark", not deterministic),
        (backends.cudnn, "deterministic", deterministic),
        (backends.cudnn.conv, "fp32_precision", "ieee"),
        (backends.cudnn.rnn, "fp32_precision", "ieee"),
        (backends.cuda.matmul, "fp32_precision", "ieee"),
    ]
    if deterministic:  # memory that is written before it is read need not be filled first
        wanted.append((torch.utils.deterministic, "fill_uninitialized_memory", False))
    before = [(place, name, getattr(place, name)) for place, name, _ in wanted]
    mode = torch.get_deterministic_debug_mode()
    try:
        for place, name, value in wanted:
            setattr(place, name, value)
        if deterministic:
            torch.use_deterministic_algorithms(True)
        yield
    except RuntimeError as error:
        if not deterministic or "does not have a deterministic implementation" not in str(error):
            raise
        operation = str(error).partition(" does not have")[0]
        raise UserError(
            f"deterministic: found true; {operation} has no deterministic kernel on {device}: leave it false, or take "
            "another model.name or device: cpu"
        ) from error
    finally:
        if deterministic:
            torch.set_deterministic_debug_mode(mode)
        for place, name, value in before:
            setattr(place, name, value)
