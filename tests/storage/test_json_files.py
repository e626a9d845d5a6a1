"""JSON with a digest of itself, and lines appended to a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lthrun.storage.json_files import HASHERS, append_json_line, hash_json, read_json, write_json


def test_a_changed_file_is_not_read_and_one_without_a_digest_is(tmp_path: Path):
    (tmp_path / "plain.json").write_text('{"a": [1, 2.5]}')
    assert read_json(tmp_path / "plain.json") == {"a": [1, 2.5]}
    path = tmp_path / "own.json"
    write_json(path, {"a": [1, 2.5], "b": None})
    assert read_json(path) == {"a": [1, 2.5], "b": None}
    path.write_text(path.read_text().replace("2.5", "3.5"))
    assert read_json(path) is None
    assert read_json(path, check=False) == {"a": [1, 3.5], "b": None}


@pytest.mark.parametrize("algorithm", HASHERS)
def test_a_digest_of_each_algorithm_is_checked(tmp_path: Path, algorithm: str):
    path, value = tmp_path / "x.json", {"a": [1, 2.5]}
    path.write_text(json.dumps({**value, algorithm: hash_json(value, algorithm).hexdigest()}))
    assert read_json(path) == value
    path.write_text(path.read_text().replace("2.5", "3.5"))
    assert read_json(path) is None


@pytest.mark.parametrize("content", ["", "{", "[1]", "null", "[" * 200_000, "\udcff"])
def test_what_is_no_json_object_is_not_read(tmp_path: Path, content: str):
    (tmp_path / "x.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    assert read_json(tmp_path / "x.json") is None and read_json(tmp_path / "missing.json") is None


def test_nan_is_refused_and_leaves_the_file_as_it_was(tmp_path: Path):
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert read_json(path) == {"a": 1} and [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_line_appended_after_a_truncated_one_stands_on_its_own(tmp_path: Path):
    path = tmp_path / "lines.jsonl"
    append_json_line(path, {"a": 1})
    append_json_line(path, {"a": 2})
    path.write_text(path.read_text()[:-4])
    append_json_line(path, {"a": 3})
    assert path.read_text().splitlines() == ['{"a": 1}', '{"a":', '{"a": 3}']
