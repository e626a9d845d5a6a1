"""Locks, and what a refused or killed process leaves beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

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
