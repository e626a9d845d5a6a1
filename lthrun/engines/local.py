"""The engine of one machine: one task after the other in this process, or several at once in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from lthrun.engines.board import Board, Tell
from lthrun.experiments.tasks import Job, Task, Worker

# Processes that share a GPU: a small network leaves most of it idle. More bring less each and take memory.
ON_A_GPU = 4
RETRIES = 2


def local(tasks: Sequence[Task], job: Job, jobs: int | None, tell: Tell, emit: Callable[..., None]) -> dict[str, str]:
    """On this machine, `jobs` at once; by default one on a CPU, which it fills, and a few on a GPU.

    Returns:
        Why each task failed that did, by key.
    """
    on_gpu = any(task.config.device.startswith("cuda") for task in tasks)
    at_once = min(jobs or (ON_A_GPU if on_gpu else 1), len(tasks))
    board = Board(tasks, tell)
    if at_once <= 1:
        one_by_one(board, Worker(job, emit))
    else:
        several(board, job, at_once)
    return board.failures


def one_by_one(board: Board, worker: Worker) -> None:
    while task := board.take():
        try:
            found = worker(task)
        except Exception as error:  # the others can still be done, and this is said
            board.failed(task, error)
        else:
            board.done(task, found)


def several(board: Board, job: Job, at_once: int) -> None:
    """Processes that share the device. Masks, weights and random draws are each process's own."""
    threads = max(1, (os.cpu_count() or 1) // at_once)
    lost: Counter[str] = Counter()
    while board.open:
        pool = ProcessPoolExecutor(at_once, multiprocessing.get_context("spawn"), begin, (job, threads))
        try:
            for task in until_broken(board, pool, at_once):
                lost[task.key] += 1
                if lost[task.key] > RETRIES:
                    board.failed(task, "its process was killed again and again, as when memory runs out: lower --jobs")
                else:
                    board.again(task)
        except BaseException:  # Ctrl-C and SIGTERM too: nothing goes on behind the user's back
            for process in (pool._processes or {}).values():
                process.terminate()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def until_broken(board: Board, pool: ProcessPoolExecutor, at_once: int) -> list[Task]:
    """Do tasks until all are done, or a process is lost, with which a pool loses all; the tasks that were lost."""
    running: dict[Future[dict[str, Any]], Task] = {}
    lost: list[Task] = []
    while not lost and board.open:
        while len(running) < at_once and (task := board.take()):
            running[pool.submit(do, task)] = task
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            task = running.pop(future)
            error = future.exception()
            if isinstance(error, BrokenProcessPool):
                lost.append(task)
            elif error is not None:
                board.failed(task, error)
            else:
                board.done(task, future.result())
    return lost + list(running.values())


_worker: Worker


def begin(job: Job, threads: int) -> None:
    """In a process of the pool, before its first task. It ends with its parent, which alone hears Ctrl-C."""
    import torch

    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    _worker = Worker(job)


def end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def do(task: Task) -> dict[str, Any]:
    return _worker(task)
