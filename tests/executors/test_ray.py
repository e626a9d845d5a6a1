"""A real Ray cluster, worker processes of which are killed: nothing is lost, nothing trained twice, the same numbers."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lthrun.experiments.tasks import RunOptions, Task, graph

from lthrun.executors import EXECUTORS
from lthrun.experiments import load_config
from lthrun.levels.context import prepare
from tests.conftest import SMALL, digest
from tests.executors.test_local import alive, below, kill_one, silent, start, study
from tests.experiments.test_experiments import OWN, TIMES

pytestmark = pytest.mark.ray
ARMS = "dense,ticket,ticket-rewind,random-mask"
STUDY = [*f"compare --epochs 4 --seeds 2 --arms {ARMS} --sparsities 50".split(), "--set", "compare.prune_rate=50"]
STUDY += ["--checkpoint-every", "2"]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def found(out: Path) -> dict[str, Any]:
    """What a study leaves, times and paths aside."""
    (run_dir,) = out.glob("compare-*")
    summary = json.loads((run_dir / "summary.json").read_text())
    return {
        "summary": {key: value for key, value in summary.items() if key not in OWN},
        "metrics": [{k: v for k, v in line.items() if k not in TIMES} for line in lines(run_dir / "metrics.jsonl")],
        "tensors": {path.relative_to(out): digest(path) for path in out.glob("levels/*/*.safetensors")},
    }


def tasks_told(out: Path) -> list[tuple[str, bool]]:
    (events,) = out.glob("compare-*/events.jsonl")
    return [(event["key"], event["reused"]) for event in lines(events) if event["event"] == "task"]


@pytest.fixture(scope="module")
def alone(images: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The study by the local engine; two at once, so that each process has as many threads as a worker of Ray."""
    out = tmp_path_factory.mktemp("alone")
    process = start(study(images, out, *STUDY, "--engine", "local", "--jobs", "2"))
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return found(out)


def test_a_worker_killed_in_mid_task_loses_nothing(images: Path, tmp_path: Path, alone: dict[str, Any]):
    out = tmp_path / "out"
    process = start(study(images, out, *STUDY, "--engine", "ray", "--jobs", "2"), RAY_ADDRESS="local")
    key = kill_one(process.pid, out)
    cluster = list(below(process.pid))
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    # Each level was trained by one worker, that of the killed one too; two workers' tasks are all there were.
    told = tasks_told(out)
    assert Counter(told) == Counter((path.parent.name, False) for path in out.glob("levels/*/level.json"))
    assert (key, False) in told
    assert found(out) == alone
    assert not [path for path in out.rglob("*") if ".part" in path.name or path.name.startswith(".shared")]
    end = time.monotonic() + 30
    while any(map(alive, cluster)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not [pid for pid in cluster if alive(pid)]


@pytest.fixture(scope="module")
def machines() -> Iterator[Any]:
    """A running cluster of two machines with two CPUs each, as far as Ray can tell."""
    from ray.cluster_utils import Cluster

    two = {"num_cpus": 2, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=two)
    cluster.add_node(**two)
    yield cluster
    cluster.shutdown()


def test_a_failing_task_is_told_and_stops_no_other(
    machines: Any, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("RAY_ADDRESS", machines.address)
    options = SMALL | {"data.dir": str(images), "model.name": "resnet20", "training.epochs": 1, "device": "cpu"}
    settings = [prepare(load_config(None, "ticket", options={**options, "seed": seed}), silent) for seed in (0, 1)]
    tasks = graph(
        Task(s.resolved, level, f"level {level.index}", s.conditions) for s in settings for level in s.levels[:2]
    )
    wrong = replace(tasks[0], conditions=replace(tasks[0].conditions, epoch_steps=1))
    terminate = signal.getsignal(signal.SIGTERM)
    failures = EXECUTORS["ray"]([wrong, *tasks[1:]], RunOptions(tmp_path), 1, silent, silent)
    assert failures.keys() == {tasks[0].key, tasks[1].key}
    assert "has other images" in failures[tasks[0].key] and "which failed" in failures[tasks[1].key]
    assert {path.parent.name for path in tmp_path.glob("levels/*/level.json")} == {task.key for task in tasks[2:]}
    assert signal.getsignal(signal.SIGTERM) == terminate


def test_a_machine_of_a_running_cluster_may_go_away(machines: Any, images: Path, tmp_path: Path, alone: dict[str, Any]):
    out = tmp_path / "out"
    process = start(study(images, out, *STUDY, "--engine", "ray", "--jobs", "3"), RAY_ADDRESS=machines.address)
    end = time.monotonic() + 100
    while len(list(out.glob("levels/*.part/checkpoint.safetensors"))) < 2 and time.monotonic() < end:
        time.sleep(0.02)
    (machine,) = machines.worker_nodes
    machines.remove_node(machine, allow_graceful=False)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert Counter(key for key, _ in tasks_told(out)) == Counter(p.parent.name for p in out.glob("levels/*/level.json"))
    assert found(out) == alone
