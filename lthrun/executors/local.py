"""The engine of one machine: one task after the other in this process, or several at once in processes of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from lthrun.executors.task_queue import TaskQueue, Tell
from lthrun.executors.worker_processes import processes
from lthrun.experiments.tasks import RunOptions, Task, Worker

# Processes that share a GPU: a small network leaves most of it idle. More bring less each and take memory.
ON_A_GPU = 4


def local(
    tasks: Sequence[Task], options: RunOptions, jobs: int | None, tell: Tell, emit: Callable[..., None]
) -> dict[str, str]:
    """On this machine, `jobs` at once; by default one on a CPU, which it fills, and a few on a GPU.

    Returns:
        Why each task failed that did, by key.
    """
    at_once = as_many(tasks, jobs)
    queue = TaskQueue(tasks, tell)
    if at_once <= 1:
        one_by_one(queue, Worker(options, emit))
    else:
        several(queue, options, at_once)
    return queue.failures


def on_gpu(tasks: Sequence[Task]) -> bool:
    return any(task.config.device.startswith("cuda") for task in tasks)


def as_many(tasks: Sequence[Task], jobs: int | None) -> int:
    """How many at once, on one machine."""
    return min(jobs or (ON_A_GPU if on_gpu(tasks) else 1), len(tasks))


def one_by_one(queue: TaskQueue, worker: Worker) -> None:
    while task := queue.take():
        try:
            found = worker(task)
        except Exception as error:  # the others can still be done, and this is said
            queue.failed(task, error)
        else:
            queue.done(task, found)


def several(queue: TaskQueue, options: RunOptions, at_once: int) -> None:
    """Processes that share the device. Masks, weights and random draws are each process's own."""
    threads = max(1, (os.cpu_count() or 1) // at_once)
    while queue.open:
        with processes(at_once, threads, begin, options) as pool:
            for task in until_broken(queue, pool, at_once):
                queue.lost(task)


def until_broken(queue: TaskQueue, pool: ProcessPoolExecutor, at_once: int) -> list[Task]:
    """Do tasks until all are done, or a process is lost, with which a pool loses all; the tasks that were lost."""
    running: dict[Future[dict[str, Any]], Task] = {}
    lost: list[Task] = []
    while not lost and queue.open:
        while len(running) < at_once and (task := queue.take()):
            running[pool.submit(do, task)] = task
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            task = running.pop(future)
            error = future.exception()
            if isinstance(error, BrokenProcessPool):
                lost.append(task)
            elif error is not None:
                queue.failed(task, error)
            else:
                queue.done(task, future.result())
    return lost + list(running.values())


_worker: Worker


def begin(options: RunOptions) -> None:
    """In a process of the pool, before its first task."""
    global _worker
    _worker = Worker(options)


def do(task: Task) -> dict[str, Any]:
    return _worker(task)
