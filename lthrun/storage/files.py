"""Files that are whole or absent: written under a temporary name, flushed, renamed, and the folder flushed."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NoReturn

import platformdirs

from lthrun.errors import UserError

FORMAT = 2  # of output roots: raised when files or the keys of levels change


def cache_dir() -> Path:
    """Where data, drawn images and stores live: `LTHRUN_CACHE`, or the user's cache directory."""
    place = os.environ.get("LTHRUN_CACHE")
    try:
        return Path(place or platformdirs.user_cache_dir("lthrun")).expanduser()
    except RuntimeError:  # a user without a home directory, as in a container
        raise UserError(
            f"LTHRUN_CACHE: found {place or 'nothing'}; this user has no home directory: set it to the path of a "
            "folder for images and stores"
        ) from None


@contextmanager
def shared_marker(folder: Path) -> Iterator[Path]:
    """An empty file in `folder`, for as long as the block lasts: a machine that sees it shares the folder."""
    make_dir(folder)
    path = folder / f".shared-{secrets.token_hex(8)}"
    path.touch()
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def make_dir(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be created as a directory: {error.strerror}") from None


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A file that appears at `path`, whole, when the block succeeds; otherwise nothing is left."""
    temporary = temporary_path(path)
    make_dir(path.parent)
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        rename(temporary, path)
    except OSError as error:
        raise_with_filename(error, path)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_path(path: Path) -> Path:
    """Where this process writes the file that will appear at `path`."""
    return path.with_name(f".{path.name}.{os.getpid()}")


def remove_temporaries(folder: Path) -> None:
    """Remove what killed processes left half-written; the folder's lock must be held."""
    for path in folder.glob(".*.[0-9]*"):
        remove(path)


def rename(path: Path, to: Path) -> None:
    """Rename, and flush the folder, so that the new name survives a power failure."""
    path.replace(to)
    folder = os.open(to.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that cannot flush a folder
            raise
    finally:
        os.close(folder)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def raise_with_filename(error: OSError, path: Path) -> NoReturn:
    """Raise the error again with the file's name, which that of a failed write lacks."""
    raise OSError(error.errno, error.strerror, str(path)) from error


def write_bytes(path: Path, data: bytes) -> None:
    with atomic_file(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())
