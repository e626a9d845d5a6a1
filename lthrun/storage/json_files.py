"""JSON objects that carry a digest of themselves, and files of one JSON object per line.

A digest guards against broken disks, not against people.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import xxhash

from lthrun.storage.files import raise_with_filename, write_text

DIGEST = "xxh3"  # of new files; it is as fast as memory
HASHERS: dict[str, Callable[[], Any]] = {
    DIGEST: xxhash.xxh3_128,
    "blake2b": partial(hashlib.blake2b, digest_size=16),  # of files written before
}


def hash_json(value: Mapping[str, Any], algorithm: str) -> Any:
    """A hasher that has seen a JSON object, to which more can be added."""
    hasher = HASHERS[algorithm]()
    hasher.update(json.dumps(value, sort_keys=True).encode())
    return hasher


def find_digest(facts: Mapping[str, Any]) -> tuple[str | None, Any]:
    """The algorithm and the digest that a file's metadata hold; None for files of other programs."""
    return next(((name, facts[name]) for name in HASHERS if name in facts), (None, None))


def without_digest(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of a file alone."""
    return {key: value for key, value in facts.items() if key not in HASHERS}


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """A JSON object, with a digest of itself."""
    write_text(
        path, json.dumps({**value, DIGEST: hash_json(value, DIGEST).hexdigest()}, indent=1, allow_nan=False) + "\n"
    )


def read_json(path: Path, check: bool = True) -> dict[str, Any] | None:
    """The object in a JSON file; None where there is none, or it is damaged. A file without a digest is read as it
    is."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    algorithm, expected = find_digest(found)
    found = without_digest(found)
    is_whole = algorithm is None or not check or expected == hash_json(found, algorithm).hexdigest()
    return found if is_whole else None


def append_json_line(path: Path, value: Any) -> None:
    """Append a line to a file; what an interrupted write left there stays a line of its own."""
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
