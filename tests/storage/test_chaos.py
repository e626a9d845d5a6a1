"""The installed command killed at random moments, and many of them at once: always the result of an uninterrupted run."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from lthrun.cli import app as cli
from tests.conftest import OWN, TIMES, digest, read_events, read_lines

SMALL = "--config smoke/ticket --set model.name=resnet20 --set data.image_size=16 --epochs 2 --steps 1".split()
TICKET = ["ticket", *SMALL, "--rewind-epoch", "1", "--checkpoint-every", "4it", "--quiet"]


def start(arguments: Sequence[str], root: Path) -> subprocess.Popen[str]:
    """`lthrun …` in `root`, with a cache there."""
    return subprocess.Popen(
        [sys.executable, "-m", "lthrun", *arguments, "--out", str(root / "out")],
        env={**os.environ, "LTHRUN_CACHE": str(root / "cache"), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> None:
    _, said = process.communicate()
    assert process.returncode == 0, said


def result(root: Path) -> dict[str, Any]:
    """Everything that a run leaves, times and paths aside."""
    (run_dir,) = (root / "out").glob("ticket-*")
    summary = {k: v for k, v in json.loads((run_dir / "summary.json").read_text()).items() if k not in OWN}
    summary["levels"] = [
        {k: v for k, v in level.items() if k not in {"seconds", "reused"}} for level in summary["levels"]
    ]
    metrics = read_lines(run_dir / "metrics.jsonl")
    return {
        "summary": summary,
        "metrics": [{k: v for k, v in line.items() if k not in TIMES} for line in metrics],
        "config": (run_dir / "config.yaml").read_text(),
        "tensors": {p.relative_to(root): digest(p) for p in (root / "out").rglob("*.safetensors")},
        "files": sorted(named(p.relative_to(root)) for p in root.rglob("*") if not p.name.endswith(".lock")),
    }


def named(path: Path) -> str:
    """A path; the names of stores depend on where and when the images were drawn."""
    return re.sub("[0-9a-f]{8,}", "*", str(path)) if path.parts[0] == "cache" else str(path)


def storm(root: Path, kills: int, seed: int) -> None:
    """Kill runs and start them again until so many were killed; each that comes to its end is compared."""
    began = time.monotonic()
    finish(start(TICKET, root / "whole"))
    duration = time.monotonic() - began
    whole, draw, killed = result(root / "whole"), random.Random(seed), 0
    while killed < kills:
        process = start(TICKET, root / "killed")
        try:
            process.wait(draw.uniform(0, duration) if killed < kills else None)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            killed += 1
            if killed < kills:
                continue
            process = start(TICKET, root / "killed")
        finish(process)
        found = result(root / "killed")
        for part, value in whole.items():
            assert found[part] == value, (part, killed)
        shutil.rmtree(root / "killed")


def together(commands: Sequence[Sequence[str]], root: Path) -> None:
    """Commands in processes of their own, all at once; forked from one that has imported torch, since that takes long."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lthrun.experiments.driver"])
    processes = [context.Process(target=command, args=(arguments, root)) for arguments in commands]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * len(processes)


def command(arguments: Sequence[str], root: Path) -> None:
    os.environ["LTHRUN_CACHE"] = str(root / "cache")
    torch.set_num_threads(1)
    sys.argv = ["lthrun", *arguments, "--out", str(root / "out")]
    sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115
    cli.main()


def test_killed_five_times_a_run_ends_as_if_uninterrupted(tmp_path: Path):
    storm(tmp_path, 5, seed=1)


@pytest.mark.chaos
def test_killed_a_hundred_times_runs_end_as_if_uninterrupted(tmp_path: Path):
    storm(tmp_path, 100, seed=0)


def test_eight_at_once_on_one_run_train_it_once(tmp_path: Path):
    finish(start(TICKET, tmp_path / "alone"))
    together([TICKET] * 8, tmp_path / "together")
    assert result(tmp_path / "together") == result(tmp_path / "alone")
    (run_dir,) = (tmp_path / "together").glob("out/ticket-*")
    assert len(read_events(run_dir, "run_started")) == len(read_events(run_dir, "run_finished")) == 1


def test_eight_at_once_that_share_levels_train_each_once(tmp_path: Path):
    config = [part for part in SMALL if part not in ("--steps", "1", "--config", "smoke/ticket")]
    commands = [
        ["baseline", "--config", "smoke/baseline", *config],
        TICKET,
        ["ticket", *SMALL, "--sparsity", "80"],
        ["supermask", "--config", "smoke/supermask", *config, "--steps", "1"],
    ]
    together([[*command, "--quiet"] for command in commands for _ in range(2)], tmp_path)
    trained: list[str] = []
    for summary in tmp_path.glob("out/*/summary.json"):
        trained += [level["key"] for level in json.loads(summary.read_text())["levels"] if not level["reused"]]
    assert len(trained) == len(set(trained)) == len(list(tmp_path.glob("out/levels/*/level.json")))
    assert len(list(tmp_path.glob("out/*/summary.json"))) == len(commands)
