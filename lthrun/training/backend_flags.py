"""PyTorch's global flags for CUDA: set for the time of a run, restored afterwards.

float32 means float32: TF32, whose products have 10 bits of mantissa instead of 23, is off in matrix products and in
convolutions (where it is PyTorch's default). cuDNN may time its algorithms and use the fastest; with `deterministic`
it may not, and an operation whose kernels all depend on the order of threads is refused.

On the CPU no flag is touched: runs are equal to the bit there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from lthrun.errors import UserError

# cuBLAS reads it once per process, so it stays set. These two values make it deterministic (NVIDIA's cuBLAS
# documentation, "Results reproducibility").
WORKSPACE, WORKSPACES = "CUBLAS_WORKSPACE_CONFIG", (":4096:8", ":16:8")


@contextmanager
def backend_flags(device: torch.device, deterministic: bool) -> Iterator[None]:
    """The flags of a run on `device`.

    Raises:
        UserError: CUDA was initialized without what `deterministic` needs, or an operation is not deterministic.
    """
    if device.type != "cuda":
        yield
        return
    if deterministic and os.environ.get(WORKSPACE) not in WORKSPACES:
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            raise UserError(
                f"deterministic: found true; this process has used CUDA before without {WORKSPACE}={WORKSPACES[0]}: "
                "set it before the first use, or run in another process"
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
    if deterministic:  # no memory is read before it is written
        wanted.append((torch.utils.deterministic, "fill_uninitialized_memory", False))
    before = [(module, name, getattr(module, name)) for module, name, _ in wanted]
    mode = torch.get_deterministic_debug_mode()
    try:
        for module, name, value in wanted:
            setattr(module, name, value)
        if deterministic:
            torch.use_deterministic_algorithms(True)
        yield
    except RuntimeError as error:
        if not deterministic or "does not have a deterministic implementation" not in str(error):
            raise
        operation = str(error).partition(" does not have")[0]
        raise UserError(
            f"deterministic: found true; {operation} has no deterministic kernel on {device}: set it to false, or use "
            "another model.name or device: cpu"
        ) from error
    finally:
        if deterministic:
            torch.set_deterministic_debug_mode(mode)
        for module, name, value in before:
            setattr(module, name, value)
