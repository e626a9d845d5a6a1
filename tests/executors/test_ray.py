"""A real Ray cluster, worker processes of which are killed: nothing is lost, nothing trained twice, the same numbers."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lthrun.events import ignore
from lthrun.executors import EXECUTORS
from lthrun.executors.tasks import LevelTask, RunOptions
from lthrun.executors.worker import LevelWorker
from tests.conftest import OWN, TIMES, digest, read_events, read_lines
from tests.executors.processes import descendants, is_alive, kill_one, small_command, start
from tests.executors.tasks import failing

pytestmark = pytest.mark.ray
ARMS = "dense,ticket,ticket-rewind,random-mask"
STUDY = [*f"compare --epochs 4 --seeds 2 --arms {ARMS} --sparsities 50".split(), "--set", "compare.prune_rate=50"]
STUDY += ["--checkpoint-every", "2it"]


def results(out: Path) -> dict[str, Any]:
    """What a study leaves, times and paths aside."""
    (run_dir,) = out.glob("compare-*")
    summary = json.loads((run_dir / "summary.json").read_text())
    return {
        "summary": {key: value for key, value in summary.items() if key not in OWN},
        "metrics": [
            {k: v for k, v in line.items() if k not in TIMES} for line in read_lines(run_dir / "metrics.jsonl")
        ],
        "tensors": {path.relative_to(out): digest(path) for path in out.glob("levels/*/*.safetensors")},
    }


def finished_levels(out: Path) -> list[tuple[str, bool]]:
    """Key, and whether it was reused, as the study's events have it."""
    (run_dir,) = out.glob("compare-*")
    return [(event["key"], event["is_reused"]) for event in read_events(run_dir, "level_finished")]


@pytest.fixture(scope="module")
def alone(images: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The study by the local executor, two at once: each process has as many threads as a worker of Ray."""
    out = tmp_path_factory.mktemp("alone")
    process = start(small_command(images, out, *STUDY, "--executor", "local", "--jobs", "2"))
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return results(out)


def test_a_worker_killed_in_mid_task_loses_nothing(images: Path, tmp_path: Path, alone: dict[str, Any]):
    out = tmp_path / "out"
    process = start(small_command(images, out, *STUDY, "--executor", "ray", "--jobs", "2"), RAY_ADDRESS="local")
    key = kill_one(process.pid, out)
    cluster = list(descendants(process.pid))
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    # Each level was trained by one worker, that of the killed one too; two workers' tasks are all there were.
    finished = finished_levels(out)
    assert Counter(finished) == Counter((path.parent.name, False) for path in out.glob("levels/*/level.json"))
    assert (key, False) in finished
    assert results(out) == alone
    assert not [path for path in out.rglob("*") if ".part" in path.name or path.name.startswith(".shared")]
    end = time.monotonic() + 30
    while any(map(is_alive, cluster)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not [pid for pid in cluster if is_alive(pid)]


@pytest.fixture(scope="module")
def machines() -> Iterator[Any]:
    """A running cluster of two machines with two CPUs each, as far as Ray can tell."""
    from ray.cluster_utils import Cluster

    two = {"num_cpus": 2, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=two)
    cluster.add_node(**two)
    yield cluster
    cluster.shutdown()


def test_a_failing_task_is_recorded_and_stops_no_other(
    machines: Any, make_tasks: Callable[..., list[LevelTask]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("RAY_ADDRESS", machines.address)
    tasks = make_tasks(*({"seed": seed, "device": "cpu"} for seed in (0, 1)))
    terminate = signal.getsignal(signal.SIGTERM)
    failures = EXECUTORS["ray"]([failing(tasks[0]), *tasks[1:]], LevelWorker(RunOptions(tmp_path)), ignore)
    assert failures.keys() == {tasks[0].key, tasks[1].key}
    assert "has other images" in failures[tasks[0].key] and "which failed" in failures[tasks[1].key]
    assert {path.parent.name for path in tmp_path.glob("levels/*/level.json")} == {task.key for task in tasks[2:]}
    assert signal.getsignal(signal.SIGTERM) == terminate


def test_a_machine_of_a_running_cluster_may_go_away(machines: Any, images: Path, tmp_path: Path, alone: dict[str, Any]):
    out = tmp_path / "out"
    process = start(
        small_command(images, out, *STUDY, "--executor", "ray", "--jobs", "3"), RAY_ADDRESS=machines.address
    )
    end = time.monotonic() + 100
    while len(list(out.glob("levels/*.part/checkpoint.safetensors"))) < 2 and time.monotonic() < end:
        time.sleep(0.02)
    (machine,) = machines.worker_nodes
    machines.remove_node(machine, allow_graceful=False)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert Counter(key for key, _ in finished_levels(out)) == Counter(
        p.parent.name for p in out.glob("levels/*/level.json")
    )
    assert results(out) == alone
