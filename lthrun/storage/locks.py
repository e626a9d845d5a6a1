"""Lock files, and what processes that were killed left beside them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock

from lthrun.storage.files import make_dir, remove, remove_temporaries, rename, temporary_path


@contextmanager
def lock(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock file `path`; a lock whose process has died does not block.

    Calls `waiting` once if another process holds it. What killed processes left half-written beside the lock is
    removed. If the folder is empty in the end, because the work was refused, it and the folders created for it are
    removed as well.
    """
    created = [folder for folder in path.parent.parents if not folder.exists()]
    make_dir(path.parent)
    held = filelock.FileLock(path)
    try:
        held.acquire(timeout=0)
    except filelock.Timeout:
        waiting()
        held.acquire()
    try:
        remove_temporaries(path.parent)
        yield
    finally:
        held.release()
        with suppress(OSError):
            if list(path.parent.iterdir()) == [path]:
                shutil.rmtree(path.parent)
                for folder in created:
                    folder.rmdir()


@contextmanager
def lock_if_free(path: Path) -> Iterator[bool]:
    """Hold the lock file `path` if it is free; the value says whether it was."""
    try:
        held = filelock.FileLock(path).acquire(timeout=0)
    except filelock.Timeout:
        yield False
    else:
        with held:
            yield True


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path | None]:
    """A folder to fill that appears at `path`, whole, when the block succeeds; None where `path` exists."""
    if path.exists():
        yield None
        return
    with lock(path.parent / ".lock"):
        if path.exists():
            yield None
            return
        temporary = temporary_path(path)
        make_dir(temporary)
        try:
            yield temporary
            rename(temporary, path)
        finally:
            remove(temporary)
