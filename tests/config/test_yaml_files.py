"""What is read of a YAML file, and which file is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from lthrun.config.yaml_files import parse_yaml
from lthrun.errors import UserError
from lthrun.experiments import load_config


@pytest.mark.parametrize("text", ["1e-3", "1.0e-3", "0.001"])
def test_scientific_numbers_are_numbers(text):
    assert load_config(None, "ticket", [f"training.learning_rate={text}"]).training.learning_rate == 1e-3


@pytest.mark.parametrize(
    ("text", "value"),
    [("2:4", "2:4"), ("1:30:00", "1:30:00"), ("12", 12), ("-3", -3), ("0x10", 16), ("1_000", 1000), ("1.5", 1.5),
     (".5", 0.5), ("5.", 5.0), ("-1.5e-3", -0.0015), ("2e3", 2000.0), (".inf", float("inf")), ("1ep", "1ep"), ("null", None),
     ("true", True), ("0ep", "0ep"), ("010", "010"), ("0", 0), ("1.2.3", "1.2.3"), ("-", None)],
)  # fmt: skip
def test_numbers_are_read_as_people_write_them(text, value):
    found = parse_yaml(text, "here")
    assert found == value or (text == "-" and found == [None])
    assert type(found) is type(value) or text == "-"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"training: [", "not valid YAML"),
        (b"- 1\n- 2\n", "found list; a config is a mapping of sections"),
        (b"training: {epochs: 2, epochs: 3}", "line 1, column 23 not valid YAML: duplicate key 'epochs'"),
        (b"\xff\xfe\x00", "cannot be read as UTF-8 text"),
        (b"training: !!python/object:os.system {}", "not valid YAML"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, content: bytes, message: str):
    file = tmp_path / "broken.yaml"
    file.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        load_config(file)
    assert "broken.yaml" in str(error.value)


def test_a_missing_file_lists_the_shipped_ones():
    with pytest.raises(
        UserError,
        match="found no file nowhere.yaml; shipped with lthrun are baseline, bernoulli, compare, connectivity, edge-popup",
    ):
        load_config("nowhere.yaml")
