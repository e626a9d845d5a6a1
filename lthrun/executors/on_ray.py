"""The executor of many machines: worker processes of a Ray cluster, which share the output root.

A worker is an actor and not a bare Ray task, because it stays: it keeps PyTorch, the images and its share of a GPU from
one level to the next, where Ray would start a new process for every task that uses a GPU. What Ray would retry by
itself is then retried here, by the queue. Workers exchange nothing: a level is looked up, locked and written under the
output root, so none is trained twice. Ray is imported only when this executor is used.
"""

from __future__ import annotations

import math
import os
import platform
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from lthrun.errors import UserError
from lthrun.events import Busy, Emit
from lthrun.executors.local import PER_GPU, count_cores, count_jobs, needs_gpu
from lthrun.executors.table import EXECUTORS
from lthrun.executors.task_queue import RETRIES, TaskQueue, describe_error
from lthrun.executors.tasks import LevelTask, RunOptions
from lthrun.executors.worker import LevelResult, LevelWorker
from lthrun.storage.files import shared_marker
from lthrun.version import __version__


@EXECUTORS.register(
    "On a Ray cluster (RAY_ADDRESS, or one of this machine), as many levels at once as it has room for.", "ray"
)
def on_ray(tasks: Sequence[LevelTask], worker: LevelWorker, emit: Emit) -> dict[str, str]:
    """The cluster is that of RAY_ADDRESS, or one that `ray start` started here, or else a new one on this machine.

    A worker takes a CPU, and on GPUs an eighth of one, or more where that leaves room for `jobs`; a new cluster has
    `jobs` CPUs.

    Raises:
        UserError: Ray is not installed, cannot be reached, or a machine of it cannot do this work.
    """
    if not tasks:
        return {}
    ray = import_ray()
    check_reachable(os.environ.get("RAY_ADDRESS", ""))
    numbered = next((task.config.device for task in tasks if task.config.device not in ("cpu", "cuda:0")), None)
    if numbered:
        raise UserError(
            f"device: found {numbered}; Ray gives each worker a CPU, or a GPU that it sees as cuda:0: use cpu or cuda"
        )
    options, jobs = replace(worker.options, out=worker.options.out.resolve()), worker.options.jobs
    queue = TaskQueue(tasks, emit)
    emit(Busy("starting Ray"))
    with connect(ray, count_jobs(tasks, jobs)), shared_marker(options.out) as marker:
        places, share = count_places(ray.nodes(), min(jobs or len(tasks), len(tasks)), needs_gpu(tasks))
        at_once = min(jobs or sum(places), len(tasks))
        threads = max(1, count_cores() // min(at_once, max(places)))
        actor = ray.remote(num_cpus=1, num_gpus=share)(RayWorker)
        run_on_workers(queue, at_once, lambda: actor.remote(options, marker, threads, describe_versions()))
    return queue.failures


def import_ray() -> Any:
    """Ray, set before it is imported to send no usage statistics, and to leave a machine without GPUs alone."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    try:
        import ray
    except ImportError:
        raise UserError("--executor ray: Ray is not installed: pip install 'lthrun[ray]'") from None
    return ray


def check_reachable(address: str) -> None:
    """Refuse an address that does not answer: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdecimal():
        try:
            socket.create_connection((host, int(port)), 10).close()
        except OSError as error:
            raise UserError(f"RAY_ADDRESS: cannot connect to {address}: {error.strerror or error}") from None


@contextmanager
def connect(ray: Any, cpus: int) -> Iterator[None]:
    """A connection to the cluster, or a new cluster of so many CPUs; at the end nothing of this run continues."""
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    terminate = signal.getsignal(signal.SIGTERM)
    has_signals = threading.current_thread() is threading.main_thread()
    try:
        try:
            ray.init(num_cpus=cpus, **quiet)
        except ValueError:  # Ray's way to say that there is a cluster, with CPUs of its own
            ray.init(**quiet)
        if has_signals:
            signal.signal(signal.SIGTERM, terminate)  # Ray has replaced it
        yield
    except ConnectionError as error:
        raise UserError(f"--executor ray: cannot connect to the Ray cluster: {describe_error(error)}") from None
    finally:
        ray.shutdown()


def count_places(nodes: Sequence[Mapping[str, Any]], wanted: int, gpu: bool) -> tuple[list[int], float]:
    """How many workers each machine has room for, and what share of a GPU each worker gets.

    With `wanted` workers or fewer on as many GPUs each has one to itself; more share one, at most `PER_GPU`.

    Raises:
        UserError: there is no room for any.
    """
    machines = [node["Resources"] for node in nodes if node["Alive"]]
    cpus = [int(machine.get("CPU", 0)) for machine in machines]
    if not gpu:
        if not any(cpus):
            raise UserError("--executor ray: no machine of the Ray cluster has a free CPU")
        return cpus, 0.0
    gpus = [int(machine.get("GPU", 0)) for machine in machines]
    if not any(gpus):
        raise UserError("--executor ray: no machine of the Ray cluster has a GPU: use --device cpu, or add one")
    together = min(PER_GPU, math.ceil(wanted / sum(gpus)))
    return [min(cpu, gpu * together) for cpu, gpu in zip(cpus, gpus, strict=True)], 1 / together


def run_on_workers(queue: TaskQueue, at_once: int, start_worker: Callable[[], Any]) -> None:
    """Run all tasks on `at_once` workers. A worker gets a task only once it is up, so a task never waits for room."""
    starting: dict[Future[Any], Any] = {}
    running: dict[Future[Any], tuple[Any, LevelTask]] = {}
    idle: list[Any] = []
    failed_starts = 0
    while queue.is_active:
        while len(starting) + len(running) + len(idle) < at_once:
            worker = start_worker()
            starting[worker.start.remote().future()] = worker
        while idle and (task := queue.take()):
            worker = idle.pop()
            running[worker.run.remote(task).future()] = (worker, task)
        # Not ray.wait: of the exceptions that a signal may raise it handles Ctrl-C only.
        for ended in wait([*starting, *running], return_when=FIRST_COMPLETED).done:
            error = ended.exception()
            if ended in running:
                worker, task = running.pop(ended)
                if error is None:
                    collect_result(queue, task, ended.result())
                    idle.append(worker)
                else:  # its process, or its machine, died
                    queue.retry(task)
                continue
            worker = starting.pop(ended)
            if error is None:
                if reason := ended.result():
                    raise UserError(reason)
                idle.append(worker)
                continue
            failed_starts += 1
            if failed_starts > RETRIES:
                raise UserError(f"--executor ray: workers fail to start: {describe_error(error)}")


def collect_result(queue: TaskQueue, task: LevelTask, result: LevelResult | str) -> None:
    if isinstance(result, str):
        queue.fail(task, result)
    else:
        queue.finish(task, result)


def describe_versions() -> dict[str, str]:
    """What numbers depend on and no level's key holds."""
    import torch

    return {"lthrun": __version__, "torch": torch.__version__}


class RayWorker:
    """A worker process of the cluster."""

    def __init__(self, options: RunOptions, marker: Path, threads: int, expected: dict[str, str]):
        self.options, self.marker, self.threads, self.expected = options, marker, threads, expected

    def start(self) -> str:
        """Get ready; why this machine cannot do the work, if it cannot."""
        import torch

        torch.set_num_threads(self.threads)
        if not self.marker.exists():
            return (
                f"--out {self.options.out}: {platform.node()} cannot see it; all machines of the Ray cluster need it "
                "under the same path, e.g. on NFS"
            )
        if describe_versions() != self.expected:
            return f"--executor ray: {platform.node()} has {describe_versions()}, and this machine {self.expected}"
        self.worker = LevelWorker(self.options)
        return ""

    def run(self, task: LevelTask) -> LevelResult | str:
        """The result, or why the task failed: an exception may not survive the way between processes."""
        try:
            return self.worker.run(task)
        except Exception as error:
            return describe_error(error)
