"""The one module that writes. What is read back is written aside, flushed, and renamed, and its folder flushed.

Tensor files and JSON objects carry a digest of themselves, so that damage is found when they are read. What lies in an
output root is said in lthrun.storage.level_store and lthrun.storage.run_dir.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

import filelock
import platformdirs

from lthrun.errors import UserError, shorten

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
DIGEST = "blake2b"


def cache_dir() -> Path:
    """Where data, drawn images and stores live: `LTHRUN_CACHE`, or the user's cache directory."""
    place = Path(os.environ.get("LTHRUN_CACHE") or platformdirs.user_cache_dir("lthrun"))
    try:
        return place.expanduser()
    except RuntimeError as error:
        raise UserError(f"LTHRUN_CACHE: found {place}; {error}") from None


@contextmanager
def lock(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock file `path`; a lock whose process has died does not block.

    Calls `waiting` once if another process holds it. What killed processes left half-written beside the lock goes
    away; so do, in the end, a folder that holds nothing but its lock because what it was made for was refused, and
    those that were made around it.
    """
    made = [folder for folder in path.parent.parents if not folder.exists()]
    make_dir(path.parent)
    held = filelock.FileLock(path)
    try:
        held.acquire(timeout=0)
    except filelock.Timeout:
        waiting()
        held.acquire()
    try:
        clear_asides(path.parent)
        yield
    finally:
        held.release()
        with suppress(OSError):
            if list(path.parent.iterdir()) == [path]:
                shutil.rmtree(path.parent)
                for folder in made:
                    folder.rmdir()


@contextmanager
def lock_if_free(path: Path) -> Iterator[bool]:
    """Hold the lock file `path`, and whether it could be had."""
    held = filelock.FileLock(path)
    try:
        held.acquire(timeout=0)
    except filelock.Timeout:
        yield False
        return
    try:
        yield True
    finally:
        held.release()


@contextmanager
def mark(folder: Path) -> Iterator[Path]:
    """An empty file in `folder`, for as long as the block lasts: who sees it, sees this folder."""
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
        raise UserError(f"{path}: cannot be made a directory: {error.strerror}") from None


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A file that appears at `path`, whole, when the block ends well; else nothing is left."""
    aside = aside_of(path)
    make_dir(path.parent)
    try:
        with aside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        move(aside, path)
    except OSError as error:
        raise_with_filename(error, path)
    finally:
        aside.unlink(missing_ok=True)


def aside_of(path: Path) -> Path:
    """Where this process makes what shall appear at `path`."""
    return path.with_name(f".{path.name}.{os.getpid()}")


def clear_asides(folder: Path) -> None:
    """Remove what killed processes left half-written; the lock that guards the folder must be held."""
    for path in folder.glob(".*.[0-9]*"):
        remove(path)


def move(path: Path, to: Path) -> None:
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
    """Raise the error again with the file's name: that of a failed write knows none."""
    raise OSError(error.errno, error.strerror, str(path)) from error


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path | None]:
    """A folder to fill that appears at `path`, whole, when the block ends well; None where `path` exists."""
    if path.exists():
        yield None
        return
    with lock(path.parent / ".lock"):
        if path.exists():
            yield None
            return
        aside = aside_of(path)
        make_dir(aside)
        try:
            yield aside
            move(aside, path)
        finally:
            remove(aside)


def write_bytes(path: Path, data: bytes) -> None:
    with atomic_file(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """A JSON object, with a digest of itself."""
    write_text(path, json.dumps({**value, DIGEST: digest(value)}, indent=1, allow_nan=False) + "\n")


def read_json(path: Path, check: bool = True) -> dict[str, Any] | None:
    """The object in a JSON file, or None where there is no (whole) one, or what it holds is not what was written.

    Files of older versions have no digest, and are read without.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    promised = found.pop(DIGEST, None)
    return found if promised is None or not check or promised == digest(found) else None


def digest(value: Mapping[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=16).hexdigest()


def append_json_line(path: Path, value: Any) -> None:
    """A line at the end of a file; what a cut-off write has left there stays a line of its own."""
    try:
        with path.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")
            file.write(json.dumps(value, allow_nan=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise_with_filename(error, path)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """A safetensors file of contiguous CPU tensors, with a digest of it all; equal contents give equal bytes."""
    from safetensors.torch import save

    data = save(dict(tensors), dict(metadata))
    length = 8 + int.from_bytes(data[:8], "little")
    header, content = json.loads(data[8:length]), memoryview(data)[length:]
    seen = header_hasher(header)
    seen.update(content)
    header.setdefault("__metadata__", {})[DIGEST] = seen.hexdigest()
    # The library writes metadata in random order: sort the header (8 bytes of length, JSON padded to 8).
    text = json.dumps(header, sort_keys=True).encode()
    text += b" " * (-len(text) % 8)
    with atomic_file(path) as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        file.write(content)


def header_hasher(header: dict[str, Any]) -> hashlib.blake2b:
    """The digest of a safetensors file up to its tensors; the digest itself is not part of it."""
    metadata = {key: value for key, value in header.get("__metadata__", {}).items() if key != DIGEST}
    text = json.dumps({**header, "__metadata__": metadata}, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16)


def is_intact(path: Path) -> bool:
    """Whether a safetensors file is one, and its digest that of its content; older files have no digest."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt"):
            pass  # the header is in order
    except SafetensorError:
        return False
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        promised = header.get("__metadata__", {}).get(DIGEST)
        if promised is None:
            return True
        seen = header_hasher(header)
        while part := file.read(1 << 20):
            seen.update(part)
    return bool(seen.hexdigest() == promised)


def read_tensors(path: Path, check: bool = True) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file; `check` compares its digest.

    Raises:
        UserError: there is no such file, or it is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise OSError("a directory, a pipe or a device")
        path.open("rb").close()  # says why, where the library says that there is no such file
        with safe_open(path, framework="pt") as file:
            if check and not is_intact(path):
                raise UserError(f"{path}: damaged; its content is not what was written")
            metadata = file.metadata() or {}
            metadata.pop(DIGEST, None)
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{path}: not a readable safetensors file: {shorten(str(error))}") from None


def sizes(folder: Path) -> dict[str, int]:
    """The bytes of each tensor file in a folder."""
    return {path.name: path.stat().st_size for path in sorted(folder.glob("*.safetensors"))}
