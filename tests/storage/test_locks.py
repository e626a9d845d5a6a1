"""Locks, and what a refused or killed process leaves beside them."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lthrun.errors import UserError
from lthrun.storage.locks import atomic_folder, lock, lock_if_free


def test_a_lock_is_exclusive_and_what_a_killed_process_left_is_removed(tmp_path: Path):
    path = tmp_path / "out" / "run" / ".lock"
    with lock(path):
        with lock_if_free(path) as is_free:
            assert not is_free
        (path.parent / ".summary.json.123").touch()
        (path.parent / "kept").touch()
    with lock(path):
        assert {p.name for p in path.parent.iterdir()} == {".lock", "kept"}
    with lock_if_free(path) as is_free:
        assert is_free


def test_a_refused_run_leaves_no_folders(tmp_path: Path):
    with pytest.raises(RuntimeError), lock(tmp_path / "out" / "run" / ".lock"):
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path):
    path = tmp_path / "stores" / "one"
    with pytest.raises(RuntimeError), atomic_folder(path) as folder:
        assert folder is not None and not path.exists()
        (folder / "half").touch()
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    with atomic_folder(path) as folder:
        assert folder is not None
        (folder / "whole").touch()
    with atomic_folder(path) as folder:
        assert folder is None
    assert [p.name for p in path.iterdir()] == ["whole"]


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, 524, errno.EIO])  # 524: the kernel's own ENOTSUPP
def test_locks_that_the_file_system_refuses_are_one_line_and_nothing_is_left(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lthrun: Callable
):
    def refuse(*_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    path = tmp_path / "out" / "run" / ".lock"
    with pytest.raises(UserError, match=f"{path}: cannot be locked: .*; the file system must have locks"), lock(path):
        pytest.fail("it is not held")
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match="cannot be locked"), lock_if_free(tmp_path / "lock"):
        pytest.fail("it is not held")
    for out in ("out", "kept/out"):
        (tmp_path / "kept" / "mine").mkdir(parents=True, exist_ok=True)
        outcome = lthrun("baseline", "--config", "smoke/baseline", "--out", out)
        assert outcome.status == 2 and outcome.err.count("\n") == 1 and "cannot be locked: " in outcome.err
    assert not (tmp_path / "out").exists() and (tmp_path / "kept" / "mine").exists()
