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


DTYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "complex64": "C64", "int64": "I64",
    "int32": "I32", "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip
"""What the format calls a dtype of torch."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """A safetensors file of tensors, with a digest of it all; equal contents give equal bytes.

    The library would write metadata in random order, and copy the tensors into one block of memory first. The format: 8
    bytes of length, a header of JSON, the tensors (https://github.com/huggingface/safetensors#format); those of larger
    items first, so that all are aligned.
    """
    import torch

    header: dict[str, Any] = {}
    contents: list[Any] = []  # one-dimensional arrays, of the memory of the tensors
    place = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (-item[1].itemsize, item[0])):
        dtype, offsets = DTYPES[str(tensor.dtype).removeprefix("torch.")], [place, place + tensor.nbytes]
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": offsets}
        contents.append(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy())
        place += tensor.nbytes
    hasher = hash_header(header, DIGEST, metadata)
    for content in contents:
        hasher.update(content)
    header["__metadata__"] = {**metadata, DIGEST: hasher.hexdigest()}
    text = json.dumps(header, sort_keys=True).encode()
    text += b" " * (-len(text) % 8)
    with atomic_file(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for content in contents:
            file.write(content)


def hash_header(header: Mapping[str, Any], algorithm: str, metadata: Mapping[str, str]) -> Any:
    """A hasher that has seen a safetensors file up to its tensors; the digest itself is left out."""
    return hash_json({**header, "__metadata__": without_digest(metadata)}, algorithm)


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
        metadata = header.get("__metadata__", {})
        algorithm, digest = find_digest(metadata)
        if algorithm is None:
            return True
        hasher = hash_header(header, algorithm, metadata)
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
