"""Safetensors files: equal contents give equal bytes, and damage is noticed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file

from lthrun.errors import UserError
from lthrun.storage.tensor_files import is_intact, read_tensors, tensor_file_sizes, write_tensors
from tests.storage.damage import flip_bit


def test_tensors_and_metadata_are_read_back_and_equal_contents_are_equal_bytes(tmp_path: Path):
    tensors = {
        "mask": torch.tensor([True, False]),
        "a": torch.rand(3, 2),
        "count": torch.tensor(7),
        "none": torch.empty(0, 2),
    }
    tensors |= {
        "half": torch.rand(3).bfloat16(),
        "transposed": torch.rand(2, 3).T,
        "byte": torch.arange(5, dtype=torch.uint8),
    }
    metadata = {f"key {k}": str(k) for k in range(9)}
    for name in ("one", "other"):
        write_tensors(tmp_path / f"{name}.safetensors", tensors, metadata)
    found, read = read_tensors(tmp_path / "one.safetensors")
    assert read == metadata and found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    content = (tmp_path / "one.safetensors").read_bytes()
    size, library = (
        sum(tensor.nbytes for tensor in tensors.values()),
        save({n: t.contiguous() for n, t in tensors.items()}),
    )
    assert content[-size:] == library[-size:], "the tensors lie as the library would write them"
    assert content == (tmp_path / "other.safetensors").read_bytes()
    assert tensor_file_sizes(tmp_path) == dict.fromkeys(("one.safetensors", "other.safetensors"), len(content))


def test_files_without_a_digest_are_read(tmp_path: Path):
    save_file({"a": torch.ones(3)}, tmp_path / "plain.safetensors")
    assert read_tensors(tmp_path / "plain.safetensors")[0]["a"].sum() == 3


@pytest.mark.parametrize("place", [0.0, 0.05, 0.3, 0.6, 1.0])
def test_a_flipped_bit_is_damage(tmp_path: Path, place: float):
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"a": torch.ones(300)}, {"b": "c"})
    flip_bit(path, place)
    with pytest.raises(UserError, match=r"x\.safetensors: (damaged; its content does not match|not a readable)"):
        read_tensors(path)
    assert not is_intact(path)


def test_what_is_no_file_is_refused_without_blocking(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").touch()
    for name, reason in {
        "pipe": "a directory, a pipe or a device",
        "empty": "not a readable",
        "none": "no such file",
    }.items():
        with pytest.raises(UserError, match=f"{name}: .*{reason}"):
            read_tensors(tmp_path / name)
