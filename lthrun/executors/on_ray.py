"""The engine of many machines: worker processes of a Ray cluster, which share the output root.

A worker is an actor and not a bare Ray task, since it stays: it keeps PyTorch, the images and its share of a GPU from
one level to the next, where Ray would start a process anew for every task that uses a GPU. What Ray would retry by
itself is then done here, on the board. Workers fetch nothing from each other: a level is found, locked and left under
the output root, so none is trained twice, whichever machine wants it. Ray is imported only when it is asked for.
"""

from __future__ import annotations

import math
import os
import platform
import signal
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lthrun import __version__
from lthrun.errors import UserError
from lthrun.executors.local import ON_A_GPU, as_many, on_gpu
from lthrun.executors.task_queue import RETRIES, TaskQueue, Tell, reason
from lthrun.experiments.tasks import RunOptions, Task, Worker
from lthrun.storage.files import mark


def on_ray(
    tasks: Sequence[Task], options: RunOptions, jobs: int | None, tell: Tell, emit: Callable[..., None]
) -> dict[str, str]:
    """On a Ray cluster, as many at once as it has places; on one of this machine's own where there is none.

    The cluster is that of RAY_ADDRESS, or one that `ray start` made here. A place is a CPU, on GPUs also a quarter of
    one, or more where that leaves room for `jobs`; the own cluster has `jobs` CPUs.

    Returns:
        Why each task failed that did, by key.

    Raises:
        UserError: Ray is not installed, cannot be reached, or a machine of it cannot do this work.
    """
    if not tasks:
        return {}
    ray = load()
    check_reachable(os.environ.get("RAY_ADDRESS", ""))
    numbered = next((task.config.device for task in tasks if task.config.device not in ("cpu", "cuda:0")), None)
    if numbered:
        raise UserError(f"device: found {numbered}; Ray gives each worker a GPU, which it sees as cuda:0: use cuda")
    options = RunOptions(options.out.resolve(), options.fresh, options.checkpoint_every)
    queue = TaskQueue(tasks, tell)
    emit("busy", doing="starting Ray")
    with connected(ray, as_many(tasks, jobs)), mark(options.out) as shared:
        places, share = room(ray.nodes(), min(jobs or len(tasks), len(tasks)), on_gpu(tasks))
        at_once = min(jobs or sum(places), len(tasks))
        threads = max(1, (os.cpu_count() or 1) // min(at_once, max(places)))
        kind = ray.remote(num_cpus=1, num_gpus=share)(RayWorker)
        finish(queue, at_once, lambda: kind.remote(options, shared, threads, versions()))
    return queue.failures


def load() -> Any:
    """Ray, told before it is imported to report to nobody, and to leave a machine without GPUs in peace."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    try:
        import ray
    except ImportError:
        raise UserError("--engine ray: Ray is not installed: pip install 'lthrun[ray]'") from None
    return ray


def check_reachable(address: str) -> None:
    """Refuse a cluster at whose address nobody listens: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdecimal():
        try:
            socket.create_connection((host, int(port)), 10).close()
        except OSError as error:
            raise UserError(f"RAY_ADDRESS: nobody answers at {address}: {error.strerror or error}") from None


@contextmanager
def connected(ray: Any, places: int) -> Iterator[None]:
    """A connection to the cluster there is, or a cluster of `places` CPUs; in the end nothing of this run goes on."""
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    terminate = signal.getsignal(signal.SIGTERM)
    try:
        try:
            ray.init(num_cpus=places, **quiet)
        except ValueError:  # so Ray says that there is a cluster, with CPUs of its own
            ray.init(**quiet)
        signal.signal(signal.SIGTERM, terminate)  # Ray has put its own in its place
        yield
    except ConnectionError as error:
        raise UserError(f"--engine ray: the Ray cluster cannot be reached: {reason(error)}") from None
    finally:
        ray.shutdown()


def room(nodes: Sequence[Mapping[str, Any]], wanted: int, gpu: bool) -> tuple[list[int], float]:
    """How many workers each machine of a cluster has room for, and what share of a GPU each worker gets.

    With `wanted` workers or fewer on as many GPUs each has one to itself; more share one, `ON_A_GPU` at most.

    Raises:
        UserError: there is none for any.
    """
    machines = [node["Resources"] for node in nodes if node["Alive"]]
    cpus = [int(machine.get("CPU", 0)) for machine in machines]
    if not gpu:
        if not any(cpus):
            raise UserError("--engine ray: no machine of the Ray cluster has a CPU to give")
        return cpus, 0.0
    gpus = [int(machine.get("GPU", 0)) for machine in machines]
    if not any(gpus):
        raise UserError("--engine ray: no machine of the Ray cluster has a GPU: use --device cpu, or add one")
    together = min(ON_A_GPU, math.ceil(wanted / sum(gpus)))
    return [min(cpu, gpu * together) for cpu, gpu in zip(cpus, gpus, strict=True)], 1 / together


def finish(queue: TaskQueue, at_once: int, start_worker: Callable[[], Any]) -> None:
    """Do all tasks with `at_once` workers. One gets a task only once it is up: a task never waits for room."""
    starting: dict[Future[Any], Any] = {}
    running: dict[Future[Any], tuple[Any, Task]] = {}
    idle: list[Any] = []
    failed_starts = 0
    while queue.open:
        while len(starting) + len(running) + len(idle) < at_once:
            worker = start_worker()
            starting[worker.begin.remote().future()] = worker
        while idle and (task := queue.take()):
            worker = idle.pop()
            running[worker.do.remote(task).future()] = (worker, task)
        # Not ray.wait: it knows no other exception than Ctrl-C's that a signal may raise.
        for ended in wait([*starting, *running], return_when=FIRST_COMPLETED).done:
            error = ended.exception()
            if ended in running:
                worker, task = running.pop(ended)
                if error is None:
                    told(queue, task, ended.result())
                    idle.append(worker)
                else:  # its process, or its machine, is gone
                    queue.lost(task)
                continue
            worker = starting.pop(ended)
            if error is None:
                if why := ended.result():
                    raise UserError(why)
                idle.append(worker)
                continue
            failed_starts += 1
            if failed_starts > RETRIES:
                raise UserError(f"--engine ray: workers end before they have begun: {reason(error)}")


def told(queue: TaskQueue, task: Task, found: dict[str, Any] | str) -> None:
    if isinstance(found, str):
        queue.failed(task, found)
    else:
        queue.done(task, found)


def versions() -> dict[str, str]:
    """What the numbers depend on, and no level's name says."""
    import torch

    return {"lthrun": __version__, "torch": torch.__version__}


class RayWorker:
    """A worker process of the cluster."""

    def __init__(self, options: RunOptions, shared: Path, threads: int, expected: dict[str, str]):
        self.options, self.shared, self.threads, self.expected = options, shared, threads, expected

    def begin(self) -> str:
        """Get ready; why this machine cannot do the work, if it cannot."""
        import torch

        torch.set_num_threads(self.threads)
        if not self.shared.exists():
            return (
                f"--out {self.options.out}: {platform.node()} does not see it; all machines of the Ray cluster need it "
                "under the same path, e.g. on NFS"
            )
        if versions() != self.expected:
            return f"--engine ray: {platform.node()} has {versions()}, and this machine {self.expected}"
        self.worker = Worker(self.options)
        return ""

    def do(self, task: Task) -> dict[str, Any] | str:
        """What the worker found, or why it failed: errors are told in words, since they may not survive the way."""
        try:
            return self.worker(task)
        except Exception as error:
            return reason(error)
