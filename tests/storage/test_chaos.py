"""The command killed at random moments, and many of it at once: always the result of the uninterrupted run."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch

from lthrun.cli import app as cli
from lthrun.data import synthetic
from tests.conftest import OWN, TIMES, digest, read_events, read_lines

SMALL = "--set model.name=lenet300 --set data.image_size=16 --set training.batch_size=8 --epochs 2 --quiet".split()
MASKED = [*SMALL, *"--set pruning.types=[linear] --steps 1".split()]
TICKET = ["ticket", "--config", "smoke/ticket", *MASKED, *"--rewind-epoch 1 --checkpoint-every 2it".split()]
Death = tuple[str, str, int]
"""A function of `os`, the name of a file, and at which of its calls for such a file the process dies."""
# Processes are forked from one that has imported torch, which takes longer than the runs.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["lthrun.levels.trainer", "lthrun.report.publish", "tests.conftest"])


def command(arguments: Sequence[str], root: Path, death: Death | None = None) -> None:
    """`lthrun …` in `root`, with a cache there, and a tenth of the embedded images."""
    if death:
        die_at(*death)
    synthetic.draw_images = partial(synthetic.draw_images, count=120)
    os.environ["LTHRUN_CACHE"] = str(root / "cache")
    torch.set_num_threads(1)
    sys.argv = ["lthrun", *arguments, "--out", str(root / "out")]
    sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115
    cli.main()


def die_at(call: str, name: str, number: int) -> None:
    """From now on, `os.<call>` of a file of that name (a pattern) ends this process by SIGKILL instead, the time
    `number`. A file that was to be flushed is then half written."""
    real, count = getattr(os, call), itertools.count(1)

    def double(*arguments: Any) -> Any:
        place = Path(f"/proc/self/fd/{arguments[0]}").readlink() if call == "fsync" else Path(arguments[-1])
        if re.fullmatch(rf"(\.)?{name}(\.\d+)?", place.name) and next(count) == number:
            if call == "fsync":
                os.ftruncate(arguments[0], os.fstat(arguments[0]).st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments)

    setattr(os, call, double)


def start(arguments: Sequence[str], root: Path, death: Death | None = None) -> BaseProcess:
    process = FORKS.Process(target=command, args=(arguments, root, death))
    process.start()
    return process


def finish(processes: Iterable[BaseProcess]) -> None:
    for process in processes:
        process.join()
        assert process.exitcode == 0


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], float]:
    """What an uninterrupted run leaves, and its seconds."""
    root = tmp_path_factory.mktemp("whole")
    finish([start(["runs"], root)])  # the server is up
    began = time.monotonic()
    finish([start(TICKET, root)])
    return result(root), time.monotonic() - began


def result(root: Path) -> dict[str, Any]:
    """Everything that a run leaves, times and paths aside."""
    (run_dir,) = (root / "out").glob("ticket-*")
    summary = {k: v for k, v in json.loads((run_dir / "summary.json").read_text()).items() if k not in OWN}
    summary["levels"] = [
        {k: v for k, v in level.items() if k not in {"seconds", "reused"}} for level in summary["levels"]
    ]
    return {
        "summary": summary,
        "metrics": [
            {k: v for k, v in line.items() if k not in TIMES} for line in read_lines(run_dir / "metrics.jsonl")
        ],
        "config": (run_dir / "config.yaml").read_text(),
        "tensors": {p.relative_to(root): digest(p) for p in (root / "out").rglob("*.safetensors")},
        "files": sorted(mask_hashes(p.relative_to(root)) for p in root.rglob("*") if not p.name.endswith(".lock")),
    }


def mask_hashes(path: Path) -> str:
    """A path; the names of stores depend on where and when the images were drawn."""
    return re.sub("[0-9a-f]{8,}", "*", str(path)) if path.parts[0] == "cache" else str(path)


def kill_and_resume(whole: tuple[dict[str, Any], float], root: Path, kills: int, seed: int) -> int:
    """Kill runs and start them again until so many were killed; each that comes to its end is compared. How many times
    training was resumed within an epoch."""
    expected, seconds = whole
    draw, killed, resumed = random.Random(seed), 0, 0
    while killed < kills:
        process = start(TICKET, root)
        if draw.random() < 0.5:
            process.join(draw.uniform(0, seconds))
        else:  # soon after a checkpoint
            wait_for_checkpoint(process, root)
            process.join(draw.uniform(0, seconds / 20))
        if process.exitcode is None:
            process.kill()
            process.join()
            killed += 1
            if killed < kills:
                continue
            process = start(TICKET, root)
        finish([process])
        found = result(root)
        for part, value in expected.items():
            assert found[part] == value, (part, killed)
        resumed += sum(steps > 0 for _, steps in resumptions(root))
        shutil.rmtree(root)
    return resumed


def wait_for_checkpoint(process: BaseProcess, root: Path) -> None:
    """Until a running command writes its next checkpoint, or ends."""

    def newest() -> int:
        with suppress(OSError):  # one is renamed or removed at this moment
            return max((path.stat().st_mtime_ns for path in root.glob("out/levels/*.part/checkpoint*")), default=0)
        return 0

    before = newest()
    while process.is_alive() and newest() <= before:
        time.sleep(0.001)


def resumptions(root: Path) -> list[tuple[int, int]]:
    """After how many epochs and steps of its level training was resumed, each time."""
    (run_dir,) = (root / "out").glob("ticket-*")
    return [(event["level_epoch"], event["steps"]) for event in read_events(run_dir, "resumed")]


def test_killed_five_times_a_run_ends_as_if_uninterrupted(whole: tuple[dict[str, Any], float], tmp_path: Path):
    assert kill_and_resume(whole, tmp_path / "killed", 5, seed=1) > 0, "no training was resumed within an epoch"


@pytest.mark.chaos
def test_killed_a_hundred_times_runs_end_as_if_uninterrupted(whole: tuple[dict[str, Any], float], tmp_path: Path):
    assert kill_and_resume(whole, tmp_path / "killed", 100, seed=0) > 20


# An epoch has 12 steps, a level two epochs: checkpoints are written after steps 2 to 22, and a rewind point after 12.
DEATHS: dict[str, tuple[Death, list[tuple[int, int]]]] = {
    "half of the first checkpoint": (("fsync", "checkpoint-next.safetensors", 1), []),
    "half of the third checkpoint": (("fsync", "checkpoint-next.safetensors", 3), [(0, 4)]),
    "a checkpoint under its temporary name": (("replace", "checkpoint-next.safetensors", 3), [(0, 4)]),
    "the one before is not yet the previous one": (("replace", "checkpoint-previous.safetensors", 2), [(0, 6)]),
    "no checkpoint is called the latest": (("replace", "checkpoint.safetensors", 3), [(0, 6)]),
    "half of a rewind point": (("fsync", "epoch-1.safetensors", 1), [(0, 10)]),
    "a rewind point under its temporary name": (("replace", "epoch-1.safetensors", 1), [(0, 10)]),
    "half of the end of a level": (("fsync", "end.safetensors", 1), [(1, 10)]),
    "a level without its record": (("fsync", "level.json", 1), [(1, 10)]),
    "a record under its temporary name": (("replace", "level.json", 1), [(1, 10)]),
    "a whole level that is not called finished": (("replace", "[0-9a-f]+", 1), [(1, 10)]),
    "a finished level that still has checkpoints": (("unlink", "checkpoint.safetensors", 1), []),
    "half of a checkpoint of the second level": (("fsync", "checkpoint-next.safetensors", 14), [(0, 4)]),
    "half of the trained model": (("fsync", "model.safetensors", 1), []),
    "half of the summary": (("fsync", "summary.json", 1), []),
}


@pytest.mark.parametrize(("death", "resumed"), DEATHS.values(), ids=DEATHS)
def test_killed_while_it_writes_a_run_ends_as_if_uninterrupted(
    whole: tuple[dict[str, Any], float], tmp_path: Path, death: Death, resumed: list[tuple[int, int]]
):
    killed = start(TICKET, tmp_path, death)
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    finish([start(TICKET, tmp_path)])
    assert resumptions(tmp_path) == resumed
    assert result(tmp_path) == whole[0]


def test_eight_at_once_on_one_run_train_it_once(whole: tuple[dict[str, Any], float], tmp_path: Path):
    finish([start(TICKET, tmp_path) for _ in range(8)])
    assert result(tmp_path) == whole[0]
    (run_dir,) = (tmp_path / "out").glob("ticket-*")
    assert len(read_events(run_dir, "run_started")) == len(read_events(run_dir, "run_finished")) == 1


def test_eight_at_once_that_share_levels_train_each_once(tmp_path: Path):
    commands = [
        ["baseline", "--config", "smoke/baseline", *SMALL],
        TICKET,
        ["ticket", "--config", "smoke/ticket", *MASKED, "--sparsity", "80"],
        ["supermask", "--config", "smoke/supermask", *MASKED],
    ]
    finish([start(command, tmp_path) for command in commands for _ in range(2)])
    trained: list[str] = []
    for summary in tmp_path.glob("out/*/summary.json"):
        trained += [level["key"] for level in json.loads(summary.read_text())["levels"] if not level["reused"]]
    assert len(trained) == len(set(trained)) == len(list(tmp_path.glob("out/levels/*/level.json")))
    assert len(list(tmp_path.glob("out/*/summary.json"))) == len(commands)
