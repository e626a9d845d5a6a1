"""`lthrun` as a process of its own, and the processes below it, as /proc has them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import SMALL


def start(arguments: list[str], **environment: str) -> subprocess.Popen[str]:
    """`lthrun …` as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "lthrun", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def small_command(images: Path, out: Path, *arguments: str) -> list[str]:
    """A command with small settings; worker processes know no patched models."""
    keys = SMALL | {"model.name": "resnet20", "data.dir": str(images)}
    sets = [part for key, value in keys.items() for part in ("--set", f"{key}={value}")]
    return [*arguments, *sets, "--device", "cpu", "--out", str(out)]


def children(pid: int) -> list[int]:
    pids = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                pids.append(int(path.parent.name))
        except (OSError, ValueError):
            continue
    return pids


def descendants(pid: int) -> Iterator[int]:
    for child in children(pid):
        yield child
        yield from descendants(child)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def training_processes(pid: int, out: Path) -> dict[int, str]:
    """The processes below `pid` that hold the lock of a level with a checkpoint, and its key."""
    keys = {}
    for child in descendants(pid):
        try:
            held = {str(fd.readlink()) for fd in Path(f"/proc/{child}/fd").iterdir()}
        except OSError:
            continue
        for path in out.glob("levels/*.part/checkpoint.safetensors"):
            key = path.parent.name.removesuffix(".part")
            if str(out.resolve() / "levels" / f"{key}.lock") in held:
                keys[child] = key
    return keys


def kill_one(pid: int, out: Path, seconds: float = 100) -> str:
    """SIGKILL a process below `pid` that is training; the key of the level that it had not finished."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for process, key in training_processes(pid, out).items():
            os.kill(process, signal.SIGKILL)
            if not (out / "levels" / key).exists():
                return key
        time.sleep(0.02)
    raise AssertionError("no process was seen to train")
