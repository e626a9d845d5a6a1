"""PyTorch's global state for the time of a run: set to known values, restored afterwards.

A notebook may have changed the default dtype, the precision of matrix products or the deterministic mode, and may call
lthrun within `no_grad`, `inference_mode` or `autocast`. None of that may change the numbers of a run, and a run changes
none of it.

- float32 means float32: TF32 and bfloat16, whose products have 10 and 7 bits of mantissa instead of 23, are off in
  matrix products and in convolutions (on CUDA, TF32 is PyTorch's default there).
- With `deterministic`, an operation on CUDA whose kernels all depend on the order of threads is refused. On the CPU
  runs are equal to the bit without it.
- A small network is trained by one thread on the CPU (lthrun.training.cpu_threads).
- cuDNN times its algorithms and uses the fastest only in a run that is long enough to gain from that.

Grad mode, autocast and the like belong to the thread. The rest belongs to the process: the first of several runs at
once sets it, and the last one restores it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from lthrun.errors import UserError

# cuBLAS reads it once per process, so it stays set. These two values make it deterministic (NVIDIA's cuBLAS
# documentation, "Results reproducibility").
WORKSPACE, WORKSPACES = "CUBLAS_WORKSPACE_CONFIG", (":4096:8", ":16:8")

# The training steps from which cuDNN's timing of its algorithms is worth its cost: 6.2 s on an H200 for the 60
# convolutions of a step of resnet18, forward and backward, which take 0.5 ms. What the fastest algorithms save was not
# measured; if it is a fifth of that, 62,000 steps pay for the timing. Without it two runs also use the same algorithms.
AUTOTUNE_STEPS = 62_000


@contextmanager
def backend_flags(
    device: torch.device, deterministic: bool, steps: int = 0, threads: int | None = None
) -> Iterator[None]:
    """PyTorch's global state for a run on `device` of so many training steps, with so many threads on the CPU.

    Raises:
        UserError: CUDA was initialized without what `deterministic` needs, an operation is not deterministic, or
            another run of this process has the other setting.
    """
    is_deterministic = deterministic and device.type == "cuda"
    if is_deterministic:
        set_cublas_workspace()
    try:
        with process_flags(is_deterministic, steps >= AUTOTUNE_STEPS, threads), thread_modes():
            yield
    except RuntimeError as error:
        if not is_deterministic or "does not have a deterministic implementation" not in str(error):
            raise
        operation = str(error).partition(" does not have")[0]
        raise UserError(
            f"deterministic: found true; {operation} has no deterministic kernel on {device}: set it to false, or use "
            "another model.name or device: cpu"
        ) from error


def set_cublas_workspace() -> None:
    if os.environ.get(WORKSPACE) in WORKSPACES:
        return
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        raise UserError(
            f"deterministic: found true; this process has used CUDA before without {WORKSPACE}={WORKSPACES[0]}: "
            "set it before the first use, or run in another process"
        )
    os.environ[WORKSPACE] = WORKSPACES[0]


@contextmanager
def thread_modes() -> Iterator[None]:
    """Gradients on, no inference mode, no autocast, and the CPU as the default device, in this thread."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for kind in ("cpu", "cuda", "mps"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":  # otherwise nothing: the mode would slow down each operation
            stack.enter_context(torch.device("cpu"))
        yield


_lock = threading.Lock()
_runs: list[bool] = []  # for each run of the process whether it is deterministic
_restore: ExitStack


@contextmanager
def process_flags(is_deterministic: bool, is_autotuned: bool, threads: int | None) -> Iterator[None]:
    """The state that all threads share, for as long as any run needs it."""
    global _restore
    with _lock:
        if _runs and _runs[0] != is_deterministic:
            raise UserError(
                f"deterministic: found {str(is_deterministic).lower()}; another run of this process has "
                f"{str(_runs[0]).lower()}: run them one after the other, or in processes of their own"
            )
        if not _runs:
            _restore = set_process_flags(is_deterministic, is_autotuned, threads)
        _runs.append(is_deterministic)
    try:
        yield
    finally:
        with _lock:
            _runs.pop()
            if not _runs:
                _restore.close()


def set_process_flags(is_deterministic: bool, is_autotuned: bool, threads: int | None) -> ExitStack:
    """Set the flags; closing the result restores them."""
    backends: Any = torch.backends
    restore = ExitStack()

    def set_flag(module: Any, name: str, value: Any) -> None:
        restore.callback(setattr, module, name, getattr(module, name))
        setattr(module, name, value)

    if threads:
        restore.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(threads)
    restore.callback(torch.set_default_dtype, torch.get_default_dtype())
    torch.set_default_dtype(torch.float32)
    for module in (
        backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul,
        backends.mkldnn.conv, backends.mkldnn.rnn, backends.mkldnn.matmul,
    ):  # fmt: skip
        set_flag(module, "fp32_precision", "ieee")
    set_flag(backends.cudnn, "benchmark", is_autotuned and not is_deterministic)
    set_flag(backends.cudnn, "deterministic", is_deterministic)
    if is_deterministic:  # no memory is read before it is written
        set_flag(torch.utils.deterministic, "fill_uninitialized_memory", False)
    restore.callback(torch.set_deterministic_debug_mode, torch.get_deterministic_debug_mode())
    torch.set_deterministic_debug_mode(2 if is_deterministic else 0)
    return restore
