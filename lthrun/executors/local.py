"""The executor of one machine: one task after the other in this process, or several at once.

On a GPU several levels train in threads of this process, each on a CUDA stream of its own: processes would take turns
on the device instead of sharing it, and each would import PyTorch and hold the images again. On a CPU, where Python's
threads would wait for each other, and for models that draw random numbers in their forward pass, which come from a
generator of the whole process, they train in worker processes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from lthrun.events import Emit
from lthrun.executors.table import EXECUTORS
from lthrun.executors.task_queue import TaskQueue
from lthrun.executors.tasks import LevelTask, RunOptions
from lthrun.executors.worker import LevelResult, LevelWorker
from lthrun.executors.worker_processes import worker_processes
from lthrun.levels.context import find_device

# Levels that share a GPU: steps of resnet18 took 1.78 ms alone, 0.94 with four and 0.83 with eight (an H200).
PER_GPU = 8
# Training steps of small networks that pay for the start of worker processes, each of which imports PyTorch.
STEPS_WORTH_PROCESSES = 20_000


@EXECUTORS.register(
    "On this machine, --jobs levels at once: by default 8 on a GPU, and on a CPU 1, which fills it, but of small "
    "networks as many as there are cores."
)
def local(tasks: Sequence[LevelTask], worker: LevelWorker, emit: Emit) -> dict[str, str]:
    queue, jobs = TaskQueue(tasks, emit), count_jobs(tasks, worker.options.jobs)
    if jobs <= 1:
        run_in_order(queue, worker)
    elif needs_gpu(tasks) and not draw_in_training(tasks):
        run_in_threads(queue, worker, jobs)
    else:
        run_in_processes(queue, worker.options, jobs)
    return queue.failures


def needs_gpu(tasks: Sequence[LevelTask]) -> bool:
    return any(task.config.device.startswith("cuda") for task in tasks)


def draw_in_training(tasks: Sequence[LevelTask]) -> bool:
    """Whether the forward pass of some level draws random numbers: dropout, stochastic depth, sampled masks."""
    from lthrun.models import build_meta_model
    from lthrun.training.noise import draws_random_numbers

    models = {(task.config.model.name, 2, 3, task.config.data.image_size) for task in tasks}
    return any(task.level.learned == "bernoulli" for task in tasks) or any(
        draws_random_numbers(build_meta_model(*model)) for model in models
    )


def count_jobs(tasks: Sequence[LevelTask], jobs: int | None) -> int:
    """How many tasks run at once on one machine."""
    return min(jobs or choose_jobs(tasks), len(tasks))


def choose_jobs(tasks: Sequence[LevelTask]) -> int:
    """Without --jobs: on a CPU one training fills the cores, unless it is small and gets one thread."""
    from lthrun.training.cpu_threads import choose_threads

    if needs_gpu(tasks):
        return PER_GPU
    is_long = sum(task.level.steps for task in tasks) >= STEPS_WORTH_PROCESSES
    return count_cores() if is_long and all(choose_threads(task.config) == 1 for task in tasks) else 1


def count_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_in_order(queue: TaskQueue, worker: LevelWorker) -> None:
    while task := queue.take():
        try:
            result = worker.run(task)
        except Exception as error:  # the other tasks can still run, and the failure is reported
            queue.fail(task, error)
        else:
            queue.finish(task, result)


def run_in_threads(queue: TaskQueue, worker: LevelWorker, jobs: int) -> None:
    """Threads that share the device and the images; each has a worker and a CUDA stream of its own."""
    from lthrun.training.cuda_streams import training_stream

    own, stop = threading.local(), threading.Event()

    def run_task(task: LevelTask) -> LevelResult:
        if not hasattr(own, "worker"):
            own.worker = LevelWorker(worker.options, context=worker.context, stop=stop)
        with training_stream(find_device(task.config.device)):
            result: LevelResult = own.worker.run(task)
        return result

    with ThreadPoolExecutor(jobs, "lthrun-level") as pool:
        try:
            run_until_broken(queue, pool, run_task, jobs)
        except BaseException:  # Ctrl-C and SIGTERM too: no level is trained after the command, and its step is saved
            stop.set()
            raise


def run_in_processes(queue: TaskQueue, options: RunOptions, jobs: int) -> None:
    """Processes that share the device; masks, weights and random draws are each process's own."""
    threads = max(1, count_cores() // jobs)
    while queue.is_active:
        with worker_processes(jobs, threads, start_worker, options) as pool:
            for task in run_until_broken(queue, pool, run_task_in_process, jobs):
                queue.retry(task)


def run_until_broken(
    queue: TaskQueue, pool: Executor, run: Callable[[LevelTask], LevelResult], jobs: int
) -> list[LevelTask]:
    """Run tasks until none is left, or a process dies, which breaks the pool; the tasks that were lost."""
    running: dict[Future[LevelResult], LevelTask] = {}
    lost: list[LevelTask] = []
    while not lost and queue.is_active:
        while len(running) < jobs and (task := queue.take()):
            running[pool.submit(run, task)] = task
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


def run_task_in_process(task: LevelTask) -> LevelResult:
    return _worker.run(task)
