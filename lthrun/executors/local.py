"""The executor of one machine: one task after the other in this process, or several at once in processes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from lthrun.events import Emit
from lthrun.executors.table import EXECUTORS
from lthrun.executors.task_queue import TaskQueue
from lthrun.executors.tasks import LevelTask, RunOptions
from lthrun.executors.worker import LevelResult, LevelWorker
from lthrun.executors.worker_processes import worker_processes

# Processes that share a GPU: a small network leaves most of it idle. More of them gain less each and take memory.
PER_GPU = 4


@EXECUTORS.register("On this machine, --jobs levels at once: by default 1 on a CPU, which it fills, and 4 on a GPU.")
def local(tasks: Sequence[LevelTask], worker: LevelWorker, emit: Emit) -> dict[str, str]:
    queue, jobs = TaskQueue(tasks, emit), count_jobs(tasks, worker.options.jobs)
    if jobs <= 1:
        run_in_order(queue, worker)
    else:
        run_in_processes(queue, worker.options, jobs)
    return queue.failures


def needs_gpu(tasks: Sequence[LevelTask]) -> bool:
    return any(task.config.device.startswith("cuda") for task in tasks)


def count_jobs(tasks: Sequence[LevelTask], jobs: int | None) -> int:
    """How many tasks run at once on one machine."""
    return min(jobs or (PER_GPU if needs_gpu(tasks) else 1), len(tasks))


def run_in_order(queue: TaskQueue, worker: LevelWorker) -> None:
    while task := queue.take():
        try:
            result = worker.run(task)
        except Exception as error:  # the other tasks can still run, and the failure is reported
            queue.fail(task, error)
        else:
            queue.finish(task, result)


def run_in_processes(queue: TaskQueue, options: RunOptions, jobs: int) -> None:
    """Processes that share the device; masks, weights and random draws are each process's own."""
    threads = max(1, (os.cpu_count() or 1) // jobs)
    while queue.is_active:
        with worker_processes(jobs, threads, start_worker, options) as pool:
            for task in run_until_broken(queue, pool, jobs):
                queue.retry(task)


def run_until_broken(queue: TaskQueue, pool: ProcessPoolExecutor, jobs: int) -> list[LevelTask]:
    """Run tasks until none is left, or a process dies, which breaks the pool; the tasks that were lost."""
    running: dict[Future[LevelResult], LevelTask] = {}
    lost: list[LevelTask] = []
    while not lost and queue.is_active:
        while len(running) < jobs and (task := queue.take()):
            running[pool.submit(run_task, task)] = task
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            task = running.pop(future)
            error = future.exception()
            if isinstance(error, BrokenProcessPool):
                lost.append(task)
            elif error is not None:
                queue.fail(task, error)
            else:
                queue.finish(task, future.result())
    return lost + list(running.values())


_worker: LevelWorker


def start_worker(options: RunOptions) -> None:
    """In a process of the pool, before its first task."""
    global _worker
    _worker = LevelWorker(options)


def run_task(task: LevelTask) -> LevelResult:
    return _worker.run(task)
