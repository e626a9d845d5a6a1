"""Lock files, and what processes that were killed left beside them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock

from lthrun.errors import UserError
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
        is_free = acquire(held, 0)
    except UserError:
        remove_empty(path, created)
        raise
    if not is_free:
        waiting()
        acquire(held)
    try:
        remove_temporaries(path.parent)
        yield
    finally:
        held.release()
        remove_empty(path, created)


def remove_empty(path: Path, created: Sequence[Path]) -> None:
    """Remove the folder of a lock that has nothing but the lock in it, and the folders `created` for it."""
    with suppress(OSError):
        if set(path.parent.iterdir()) <= {path}:
            shutil.rmtree(path.parent)
            for folder in created:
                folder.rmdir()


@contextmanager
def lock_if_free(path: Path) -> Iterator[bool]:
    """Hold the lock file `path` if it is free; the value says whether it was."""
    held = filelock.FileLock(path)
    is_free = acquire(held, 0)
    try:
        yield is_free
    finally:
        held.release()


def acquire(lock: filelock.BaseFileLock, timeout: float = -1) -> bool:
    """Acquire a lock; False if another process holds it for `timeout` seconds (-1: as long as it takes).

    Raises:
        UserError: the file system refuses locks. A lock that another machine does not see would be worse than none.
    """
    try:
        lock.acquire(timeout)
    except filelock.Timeout:
        return False
    except OSError as error:
        if error.filename is not None:
            raise
        raise UserError(
            f"{lock.lock_file}: cannot be locked: {error.strerror}; the file system must have locks (flock): use "
            "another for --out or LTHRUN_CACHE, or mount it with locks"
        ) from None
    return True


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
