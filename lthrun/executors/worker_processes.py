"""Processes of this machine that do what they are sent, and end with the one that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any, NoReturn


@contextmanager
def processes(
    count: int, threads: int, begin: Callable[..., None] | None = None, *arguments: Any
) -> Iterator[ProcessPoolExecutor]:
    """A pool of new processes, in each of which PyTorch has so many threads; `begin` is called in each before its first
    task."""
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), settle, (threads, begin, *arguments))
    try:
        yield pool
    except BaseException:  # Ctrl-C and SIGTERM too: nothing goes on behind the user's back
        for process in (pool._processes or {}).values():
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def settle(threads: int, begin: Callable[..., None] | None, *arguments: Any) -> None:
    """Prepare a process of the pool: it ends with its parent, which alone hears Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, end)
    threading.Thread(target=end_with_parent, daemon=True).start()
    import torch

    torch.set_num_threads(threads)
    if begin:
        begin(*arguments)


def end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        end()


def end(*_: Any) -> NoReturn:
    """At once, and with it the workers that load images for it."""
    for child in multiprocessing.active_children():
        child.terminate()
    os._exit(1)
