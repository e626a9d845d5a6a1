"""JSON objects that carry a digest of themselves, and files of one JSON object per line."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lthrun.storage.files import DIGEST, raise_with_filename, write_text


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """A JSON object, with a digest of itself."""
    write_text(path, json.dumps({**value, DIGEST: digest(value)}, indent=1, allow_nan=False) + "\n")


def read_json(path: Path, check: bool = True) -> dict[str, Any] | None:
    """The object in a JSON file; None where there is none, or it is damaged. A file without a digest is read as it
    is."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    expected = found.pop(DIGEST, None)
    return found if expected is None or not check or expected == digest(found) else None


def digest(value: Mapping[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=16).hexdigest()


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
