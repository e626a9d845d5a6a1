"""Safetensors files that carry a digest of themselves: equal contents give equal bytes, and damage is noticed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lthrun.errors import UserError, shorten
from lthrun.storage.files import atomic_file
from lthrun.storage.json_files import DIGEST, find_digest, hash_json, without_digest

if TYPE_CHECKING:
    from torch import Tensor


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """A safetensors file of contiguous CPU tensors, with a digest of it all; equal contents give equal bytes."""
    from safetensors.torch import save

    data = save(dict(tensors), dict(metadata))
    length = 8 + int.from_bytes(data[:8], "little")
    header, content = json.loads(data[8:length]), memoryview(data)[length:]
    hasher = hash_header(header, DIGEST)
    hasher.update(content)
    header.setdefault("__metadata__", {})[DIGEST] = hasher.hexdigest()
    # The library writes metadata in random order: sort the header (8 bytes of length, JSON padded to 8).
    text = json.dumps(header, sort_keys=True).encode()
    text += b" " * (-len(text) % 8)
    with atomic_file(path) as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        file.write(content)


def hash_header(header: dict[str, Any], algorithm: str) -> Any:
    """A hasher that has seen a safetensors file up to its tensors; the digest itself is left out."""
    return hash_json({**header, "__metadata__": without_digest(header.get("__metadata__", {}))}, algorithm)


def is_intact(path: Path) -> bool:
    """Whether a file is a safetensors file whose content has its digest; files of others have no digest."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt"):
            pass  # the header is valid
    except SafetensorError:
        return False
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        algorithm, digest = find_digest(header.get("__metadata__", {}))
        if algorithm is None:
            return True
        hasher = hash_header(header, algorithm)
        while part := file.read(1 << 20):
            hasher.update(part)
    return bool(hasher.hexdigest() == digest)


def read_tensors(path: Path, check: bool = True) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file; `check` compares its digest.

    Raises:
        UserError: there is no such file, or it is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        if path.exists() and not path.is_file():  # reading a pipe would block
            raise OSError("a directory, a pipe or a device")
        path.open("rb").close()  # its error gives the reason, which the library's does not
        with safe_open(path, framework="pt") as file:
            if check and not is_intact(path):
                raise UserError(f"{path}: damaged; its content does not match its digest")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, without_digest(file.metadata() or {})
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{path}: not a readable safetensors file: {shorten(str(error))}") from None


def tensor_file_sizes(folder: Path) -> dict[str, int]:
    """The bytes of each tensor file in a folder."""
    return {path.name: path.stat().st_size for path in sorted(folder.glob("*.safetensors"))}
