"""The examples run, and a run leaves what the reference describes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
sys.path.insert(0, str(ROOT / "docs"))

import reference_of_runs as reference  # noqa: E402


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """The runs that the examples leave."""
    place = tmp_path_factory.mktemp("examples")
    for example in EXAMPLES:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, example], cwd=place, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{example.name}\n{done.stdout}{done.stderr}"
    return place / "runs" / "examples"


def test_there_is_a_ticket_in_a_loop_and_a_study(runs: Path):
    assert [example.stem for example in EXAMPLES] == ["study_from_python", "ticket_in_your_loop"]
    assert {path.name.partition("-")[0] for path in runs.glob("*-s0-*")} == {"compare", "ticket"}


def test_their_run_directories_are_as_described(runs: Path):
    for run in runs.glob("*-s0-*"):
        assert {path.name for path in run.iterdir() if path.name[0] != "."} <= reference.FILES.keys()
    kinds = {name.strip("`") for name, _, _ in reference.list_events()}
    for line in (runs.glob("*-s0-*/events.jsonl"), ()):
        for file in line:
            assert {json.loads(event)["event"] for event in file.read_text("utf-8").splitlines()} <= kinds


def test_their_metrics_have_the_keys_described(runs: Path):
    (ticket,), (study,) = (
        {frozenset(json.loads(line)) for line in file.read_text("utf-8").splitlines()}
        for kind in ("ticket", "compare")
        for file in runs.glob(f"{kind}-s0-*/metrics.jsonl")
    )
    of_tests = {key for key in reference.METRICS if "test_" in key}
    assert ticket == reference.METRICS.keys() - {"interim_evaluations"} - of_tests
    of_runs_only = {"epoch", "level", "images_per_second", "time"}
    assert study == (reference.METRICS.keys() - of_runs_only) | reference.STUDY_METRICS.keys()
