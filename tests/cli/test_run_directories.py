"""`resume` and `runs clean`, and how a run is stopped or refused: what the command says and leaves of a run directory."""

from __future__ import annotations

import os
import shutil
import signal
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lthrun.training.engine import Engine
from tests.conftest import SMALL_SETS, read_events

OLD = Path(__file__).parents[1] / "data" / "ticket-s0-c9bae299"  # of format 1


@pytest.fixture
def small_run(lthrun: Callable, images: Path, tiny_model: None) -> Callable:
    return lambda command, *more: lthrun(command, "--data-dir", images, "--out", "out", *SMALL_SETS, *more)


def test_sigterm_saves_the_step_and_resume_continues_from_it(
    small_run: Callable, lthrun: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    step, calls = Engine.step, []

    def terminate(self: Engine, batch: Any, rate: Any) -> None:
        calls.append(1)
        if len(calls) == 8:
            os.kill(os.getpid(), signal.SIGTERM)
        step(self, batch, rate)

    monkeypatch.setattr(Engine, "step", terminate)
    stopped = small_run("ticket", "--steps", 1)
    assert stopped.status == 143 and "saved: everything up to epoch 0 of level 0" in stopped.out
    (run_dir,) = (tmp_path / "out").glob("ticket-*")
    rest = lthrun("resume", run_dir)
    assert rest.status == 0 and "level 0 resumes from the last checkpoint, after 1 epoch and 2 steps" in rest.out
    assert len(calls) == 24, "no step is trained again"
    assert "already finished, showing saved results" in lthrun("resume", run_dir).out
    kinds = ("run_started", "resumed", "pruned", "run_finished")
    assert [len(read_events(run_dir, kind)) for kind in kinds] == [2, 1, 1, 1]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("nowhere", "nowhere: not a run directory (no config.yaml in it)"),
        ("renamed", "rename it back"),
        (
            "format",
            f"{OLD.name}: written in format 1; this lthrun reads format 2: use the version that environment.json",
        ),
    ],
)
def test_resume_refuses_what_it_cannot_resume(
    small_run: Callable, lthrun: Callable, tmp_path: Path, fault: str, message: str
):
    place = tmp_path / "out" / "nowhere"
    if fault == "renamed":
        small_run("baseline", "--quiet")
        (run_dir,) = (tmp_path / "out").glob("baseline-*")
        place = run_dir.rename(tmp_path / "out" / "mine")
    elif fault == "format":
        place = shutil.copytree(OLD, tmp_path / "out" / OLD.name)
    before = set(tmp_path.rglob("*"))
    outcome = lthrun("resume", place)
    assert outcome.status == 2 and message in outcome.err and outcome.err.count("\n") == 1
    assert set(tmp_path.rglob("*")) == before


def test_runs_of_format_1_are_named_in_one_line(lthrun: Callable, tmp_path: Path):
    shutil.copytree(OLD, tmp_path / "out" / OLD.name)
    listed = lthrun("runs", "--out", "out")
    assert listed.status == 0 and listed.err.count("\n") == 1
    assert f"not shown, because another version of lthrun wrote them: {OLD.name}; use the version that" in listed.err


def test_clean_shows_first_and_keeps_what_listed_runs_need(small_run: Callable, lthrun: Callable, tmp_path: Path):
    small_run("ticket", "--quiet")
    small_run("baseline", "--quiet")
    levels = tmp_path / "out" / "levels"
    (levels / "0123.part").mkdir()
    (levels / "0123.part" / "checkpoint.safetensors").write_bytes(b"x" * 100)
    (levels / "4567.damaged").write_bytes(b"x")
    everything = set(tmp_path.rglob("*"))
    shown = lthrun("runs", "clean", "--out", "out")
    assert shown.status == 0 and "0123.part" in shown.out and "4567.damaged" in shown.out
    assert "--yes" in shown.out and everything <= set(tmp_path.rglob("*"))
    assert "freed" in lthrun("runs", "clean", "--out", "out", "--yes").out
    assert not list(levels.glob("*.part")) + list(levels.glob("*.damaged"))
    assert len(list(levels.glob("*/level.json"))) == 4
    assert "nothing to remove" in lthrun("runs", "--out", "out", "clean").out
    (kept,) = (tmp_path / "out").glob("baseline-*")
    lthrun("runs", "clean", "--out", "out", "--keep", kept, "--yes")
    assert len(list(levels.glob("*/level.json"))) == 1
    assert lthrun("runs", "--out", "out").out.count("-s0-") == 2, "run directories stay"
    refused = lthrun("runs", "clean", "--out", "out", "--keep", "nix")
    assert refused.status == 2 and refused.err.count("\n") == 1


@pytest.mark.parametrize("command", ["ticket", "compare"])
def test_too_small_a_disk_is_refused_before_training(
    small_run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(100, 100, 0))
    outcome = small_run(command)
    assert outcome.status == 2 and "--out out: 0 MB are free and the run may need" in outcome.err
    assert outcome.err.count("\n") == 1 and not list(tmp_path.glob("out/*-s0-*"))


def test_a_cache_directory_that_cannot_exist_is_named(lthrun: Callable, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LTHRUN_CACHE", "~nobody-by-this-name/x")
    outcome = lthrun("data", "info", "--set", "data.dataset=synthetic")
    assert outcome.status == 2 and outcome.err.startswith("lthrun: LTHRUN_CACHE: found ~nobody-by-this-name/x")


def test_a_home_directory_is_found_in_out_where_no_shell_does_it(
    lthrun: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert lthrun("runs", "--out=~/study").out == f"no finished runs in {tmp_path}/home/study\n"
    assert not (tmp_path / "~").exists()
