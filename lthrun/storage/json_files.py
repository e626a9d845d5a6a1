"""JSON objects that carry a digest of themselves, and files of one JSON object per line."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lthrun.storage.digests import DIGEST, HASHERS, find_digest
from lthrun.storage.files import raise_with_filename, write_text


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """A JSON object, with a digest of itself."""
    write_text(path, json.dumps({**value, DIGEST: digest(value, DIGEST)}, indent=1, allow_nan=False) + "\n")


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
    found = {key: value for key, value in found.items() if key not in HASHERS}
    return found if algorithm is None or not check or expected == digest(found, algorithm) else None


def digest(value: Mapping[str, Any], algorithm: str) -> str:
    hasher = HASHERS[algorithm]()
    hasher.update(json.dumps(value, sort_keys=True).encode())
    return hasher.hexdigest()


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
