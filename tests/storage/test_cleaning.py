"""What can be removed from an output root: nothing that a kept run, or a run in progress, needs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lthrun.errors import UserError
from lthrun.experiments import Result
from lthrun.storage.cleaning import list_leftovers, remove_leftovers
from lthrun.storage.locks import lock
from lthrun.storage.run_dir import RunDir
from tests.conftest import interrupt, run

pytestmark = pytest.mark.usefixtures("tiny_module")


@pytest.fixture
def out(finished: tuple[Path, Result], small: Callable, tmp_path: Path) -> Path:
    """An output root with a ticket of two levels and its baseline."""
    shutil.copytree(finished[0], tmp_path / "out")
    run(small("baseline"), tmp_path / "out")
    return tmp_path / "out"


def list_names(out: Path, *keep: str) -> list[tuple[str, str]]:
    return [(name, reason) for name, reason, _ in list_leftovers(out, keep)]


def test_leftovers_are_what_no_run_needs(out: Path):
    levels = out / "levels"
    before = {path.parent.name for path in levels.glob("*/level.json")}
    dense = next(iter(RunDir(next(out.glob("baseline-*"))).level_keys()))
    for name in ("0123.part", "0123.old", f"{dense}.part", f"{dense}.old", "4567"):
        (levels / name).mkdir()
        (levels / name / "file").write_bytes(b"x" * 100)
    (levels / "4567.damaged").write_bytes(b"x")
    leftovers = list_leftovers(out)
    assert sorted(leftovers) == sorted(
        [
            ("0123.part", "an unfinished level", 100),
            ("0123.old", "a level that was replaced", 100),
            (f"{dense}.part", "an unfinished level", 100),
            (f"{dense}.old", "a level that was replaced", 100),
            ("4567", "a level", 100),
            ("4567.damaged", "damaged", 1),
        ]
    )
    with lock(levels / "4567.lock"):
        assert remove_leftovers(out, leftovers) == 400, "a level that a process works on stays"
    assert {path.name for path in levels.iterdir() if path.is_dir()} == before | {"4567"}


def test_the_levels_of_runs_that_are_not_kept_are_leftovers(out: Path):
    (ticket,), (baseline,) = out.glob("ticket-*"), out.glob("baseline-*")
    assert list_names(out) == list_names(out, ticket.name) == []
    (leftover,) = list_names(out, str(baseline))
    assert leftover[0] in RunDir(ticket).level_keys() - RunDir(baseline).level_keys()
    with lock(ticket / ".lock"):
        assert list_names(out, baseline.name) == [], "a run in progress is kept"
    with pytest.raises(UserError, match=f"--keep: found no run nix in .*; there are {baseline.name}, {ticket.name}"):
        list_leftovers(out, ["nix"])


def test_what_a_stopped_run_resumes_from_is_kept(small: Callable, tmp_path: Path):
    interrupt(small("ticket"), tmp_path, 20)
    assert list(tmp_path.glob("levels/*.part")) and list_leftovers(tmp_path) == []


def test_a_run_whose_levels_are_unknown_refuses_the_cleaning(out: Path):
    (baseline,) = out.glob("baseline-*")
    (baseline / "environment.json").unlink()
    assert list_leftovers(out) == [], "its summary names them"
    (baseline / "summary.json").unlink()
    with pytest.raises(UserError, match=r"environment.json: missing or damaged, so the levels that the run needs are"):
        list_leftovers(out)
