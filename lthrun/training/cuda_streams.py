"""CUDA streams for threads: several levels train on one device at once, each thread on a stream of its own.

A GPU runs kernels of different streams side by side, and a small network fills only a part of it: steps of resnet18
took 1.78 ms each alone and 0.83 ms with eight threads (an H200). Nothing that a training computes with is shared:
model, optimizer, masks and graphs belong to the engine, the stream to the thread. Models that draw random numbers in
their forward pass are the exception, as these draws come from a generator of the whole process: they need a process
each.

The threads should stay alive from level to level: cuDNN's execution plans are cached per thread.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# PyTorch allows one capture at a time in a process (torch.cuda.graph).
capture_lock = threading.Lock()
_of_thread = threading.local()


@contextmanager
def training_stream(device: torch.device) -> Iterator[None]:
    """Give the calling thread a CUDA stream of its own for the time of the context; nothing on other devices.

    The stream waits for what the thread has launched so far, and what it launches afterwards waits for the stream. An
    engine must be built, used and read within one such context. What other threads put on the device, such as the
    images, must have been launched before the context is entered.
    """
    if device.type != "cuda":
        yield
        return
    with on_stream(torch.cuda.Stream(device)):  # type: ignore[no-untyped-call]
        yield


@contextmanager
def on_stream(stream: torch.cuda.Stream) -> Iterator[None]:
    """Launch on a stream: after what the thread launched before, and before what it launches afterwards."""
    previous = torch.cuda.current_stream(stream.device)
    stream.wait_stream(previous)
    try:
        with torch.cuda.stream(stream):
            yield
    finally:
        previous.wait_stream(stream)


def find_capture_stream(device: torch.device) -> torch.cuda.Stream:
    """The stream on which the calling thread records graphs: its current one, or a side stream if that is the default
    one, which cannot be captured.

    There is one side stream for each thread and device: a stream has memory and a cuBLAS workspace of its own.
    """
    current = torch.cuda.current_stream(device)
    if current != torch.cuda.default_stream(device):
        return current
    streams: dict[torch.device, torch.cuda.Stream] = _of_thread.__dict__.setdefault("streams", {})
    if device not in streams:
        streams[device] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    return streams[device]
