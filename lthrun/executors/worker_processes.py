"""Worker processes that exit with their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any, NoReturn

PATIENCE = 60.0  # seconds in which a process has to finish its training step and to save it


class WorkerProcess(SpawnProcess):
    """A new process that does not import the user's script: without `if __name__ == "__main__"` it would run again.

    It inherits that Ctrl-C is blocked, so that only the parent handles it, during the imports of the process as well.
    """

    def start(self) -> None:
        main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            sys.modules["__main__"] = main


class WorkerContext(SpawnContext):
    Process = WorkerProcess


@contextmanager
def worker_processes(
    count: int, threads: int, start: Callable[..., None] | None = None, *arguments: Any
) -> Iterator[ProcessPoolExecutor]:
    """A pool of `count` new processes, each with so many PyTorch threads; `start` is called in each before its first
    task."""
    pool = ProcessPoolExecutor(count, WorkerContext(), set_up, (threads, start, *arguments))
    try:
        yield pool
    except BaseException:  # Ctrl-C and SIGTERM too: no process outlives the command
        end_processes(list((pool._processes or {}).values()))
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def end_processes(processes: Collection[BaseProcess]) -> None:
    """End processes: one that trains a level saves its step first (lthrun.levels.interrupts). A second Ctrl-C does not
    wait."""
    for process in processes:
        process.terminate()
    until = time.monotonic() + PATIENCE
    try:
        for process in processes:
            process.join(max(0.0, until - time.monotonic()))
    finally:
        for process in processes:
            process.kill()


def set_up(threads: int, start: Callable[..., None] | None, *arguments: Any) -> None:
    """Prepare a process of the pool: it exits with its parent."""
    signal.signal(signal.SIGTERM, exit_now)
    threading.Thread(target=exit_with_parent, daemon=True).start()
    import torch

    torch.set_num_threads(threads)
    if start:
        start(*arguments)


def exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        exit_now()


def exit_now(*_: Any) -> NoReturn:
    """Exit at once, with the processes that load images for this one."""
    for child in multiprocessing.active_children():
        child.terminate()
    os._exit(1)
