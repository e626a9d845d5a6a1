"""Untrusted tickets and random configs: any bytes either load or raise a UserError of one line."""

from __future__ import annotations

import json
import os
import re
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import lthrun
from lthrun.sparsity.tickets import FORMAT, Ticket

BODY = b"\1\0" + bytes(8)  # a mask of two, a state of two float32


def entry(kind: str, shape: list[int], first: int, last: int) -> dict[str, Any]:
    return {"dtype": kind, "shape": shape, "data_offsets": [first, last]}


MASK, STATE = entry("BOOL", [2], 0, 2), entry("F32", [2], 2, 10)
GOOD = {"mask/a": MASK, "state/a": STATE, "__metadata__": {"format": FORMAT}}


def ticket_file(header: dict[str, Any] | bytes, body: bytes = BODY) -> bytes:
    """The bytes of a safetensors file with that header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def changed(**entries: Any) -> bytes:
    return ticket_file({k: v for k, v in (GOOD | entries).items() if v is not None})


UNREADABLE = "not a readable safetensors file: "
BAD = {
    "promises a terabyte": (changed(**{"state/a": entry("F32", [2**38], 2, 2 + 2**40)}), UNREADABLE),
    "offsets overlap": (changed(**{"state/a": entry("F32", [2], 0, 8)}), UNREADABLE),
    "offsets run backwards": (changed(**{"state/a": entry("F32", [2], 10, 2)}), UNREADABLE),
    "a gap": (ticket_file(GOOD | {"state/a": entry("F32", [2], 6, 14)}, BODY + bytes(4)), UNREADABLE),
    "bytes to spare": (ticket_file(GOOD, BODY + b"more"), UNREADABLE),
    "negative shape": (changed(**{"mask/a": entry("BOOL", [-2], 0, 2)}), UNREADABLE),
    "absurd shape": (changed(**{"state/a": entry("F32", [2**62, 2**62], 2, 10)}), UNREADABLE),
    "shape and size differ": (changed(**{"state/a": entry("F32", [3], 2, 10)}), UNREADABLE),
    "unknown dtype": (changed(**{"state/a": entry("X9", [2], 2, 10)}), UNREADABLE),
    "empty": (b"", UNREADABLE),
    "cut": (ticket_file(GOOD)[:-3], UNREADABLE),
    "header cut": (ticket_file(GOOD)[:30], UNREADABLE),
    "header of 2**63 bytes": (struct.pack("<Q", 2**63) + b"{}", UNREADABLE),
    "header of nested lists": (ticket_file(b'{"a":' + b"[" * 100_000), UNREADABLE),
    "header that is no JSON": (ticket_file(b"seed: 1"), UNREADABLE),
    "header in Latin-1": (ticket_file(b'{"\xe9":1}'), UNREADABLE),
    "metadata a number": (changed(__metadata__={"format": 1}), UNREADABLE),
    "metadata a list": (changed(__metadata__=[]), UNREADABLE),
    "pickle": (b"\x80\x04\x95" + bytes(5) + b"cos\nsystem\n(S'touch owned'\ntR.", UNREADABLE),
    "zip": (b"PK\3\4" + bytes(500), UNREADABLE),
    "no metadata": (changed(__metadata__=None), f"ticket format None; this lthrun reads format {FORMAT}"),
    "another format": (changed(__metadata__={"format": "99"}), "ticket format 99"),
    "no tensors": (ticket_file({"__metadata__": {"format": FORMAT}}, b""), "not a ticket"),
    "mask without state": (ticket_file({"mask/a": MASK, "__metadata__": {"format": FORMAT}}, BODY[:2]), "not a ticket"),
    "state of another name": (changed(**{"state/a": None, "state/b": STATE}), "mask/a must be boolean and have the shape"),
    "state of another shape": (changed(**{"state/a": entry("F32", [2, 1], 2, 10)}), "mask/a must be boolean and have the"),
    "mask of numbers": (changed(**{"mask/a": entry("U8", [2], 0, 2)}), "mask/a must be boolean"),
    "mask of sevens": (ticket_file(GOOD, b"\7\3" + bytes(8)), "mask/a must hold zeros and ones"),
    "mask of nothing": (
        ticket_file(GOOD | {"mask/a": entry("BOOL", [0, 2**40], 0, 0), "state/a": entry("F32", [0, 2**40], 0, 0)}, b""),
        "mask/a must hold zeros and ones, and not be empty",
    ),
    "another tensor": (ticket_file(GOOD | {"../../x": entry("F32", [1], 10, 14)}, BODY + bytes(4)), "found ../../x"),
    "renamed": (changed(**{"mask/a": None, "masks/a": MASK}), "not a ticket"),
    "newline in a name": (
        changed(**{"mask/a": None, "mask/\nb": MASK}), r"mask/\nb must be boolean and have the shape of state/\nb"
    ),
}  # fmt: skip


def refusal(path: Path) -> str:
    with pytest.raises(lthrun.UserError) as error:
        lthrun.load_ticket(path)
    text = str(error.value)
    assert text.isprintable() and len(text) < 1000 and path.name in text
    return text


@pytest.mark.parametrize("name", BAD)
def test_a_bad_ticket_is_refused_in_one_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    content, message = BAD[name]
    (tmp_path / "t.safetensors").write_bytes(content)
    assert message in refusal(tmp_path / "t.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["t.safetensors"]


def test_paths_that_are_no_regular_file_are_refused(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "circle").symlink_to("circle")
    for name in ("", "pipe", "circle", "x" * 300, "a\0b"):
        with pytest.raises(lthrun.UserError):
            lthrun.load_ticket(tmp_path / name)
    huge = tmp_path / "huge.safetensors"
    with huge.open("wb") as file:  # it holds what it promises, and more than most memories
        start = changed(**{"state/a": entry("F32", [2**39], 2, 2 + 2**41)})[:-10]
        file.write(start)
        file.truncate(len(start) + 2 + 2**41)
    with pytest.raises(lthrun.UserError):
        lthrun.load_ticket(huge)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_missing_read_permission_is_reported(tmp_path: Path):
    for name, load in (("t.safetensors", lthrun.load_ticket), ("c.yaml", lthrun.load_config)):
        (tmp_path / name).write_bytes(b"")
        (tmp_path / name).chmod(0)
        with pytest.raises(lthrun.UserError, match=f"{name}: .*Permission denied"):
            load(tmp_path / name)


def test_a_name_is_never_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "t.safetensors"
    file.write_bytes(
        ticket_file(
            {f"{p}/{k[-1:]}/../../x": v for p, k, v in (("mask", "a", MASK), ("state", "a", STATE))}
            | {"__metadata__": {"format": FORMAT}}
        )
    )
    ticket = lthrun.load_ticket(file)
    assert list(ticket.masks) == ["a/../../x"]
    with pytest.raises(lthrun.UserError, match=r"a/../../x is missing in the model"):
        ticket.apply(nn.Linear(2, 2))
    assert [p.name for p in tmp_path.iterdir()] == ["t.safetensors"]


def test_apply_checks_everything_before_it_changes_anything():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = {name: torch.ones_like(value) for name, value in before.items()}
    masks = {"0.weight": torch.zeros(2, 2, dtype=torch.bool)}
    wrong: list[tuple[str, Any, str]] = [
        ("1.running_var", torch.ones(3), "1.running_var is (2,) in the model, (3,) in the ticket"),
        ("1.running_var", torch.ones(2, dtype=torch.int64), "1.running_var is torch.float32 in the model, torch.int64"),
        ("1.running_var", torch.ones(2, dtype=torch.complex64), "1.running_var is torch.float32 in the model"),
        ("1.num_batches_tracked", torch.tensor(1.0), "1.num_batches_tracked is torch.int64 in the model"),
        ("1.running_var", None, "1.running_var is missing in the ticket"),
        ("x", torch.ones(1), "x is missing in the model"),
    ]
    for name, value, message in wrong:
        given = {n: v for n, v in (state | {name: value}).items() if v is not None}
        with pytest.raises(lthrun.UserError, match=re.escape(message)):
            Ticket(masks, given, {}).apply(model)
        assert all(torch.equal(value, before[n]) for n, value in model.state_dict().items())
    Ticket(masks, state, {}).apply(model)
    assert not model[0].weight.any()


def test_no_pickle_is_loaded_anywhere_in_the_package():
    for path in Path(lthrun.__file__).parent.rglob("*.py"):
        code = path.read_text()
        assert not re.search(
            r"import pickle|torch\.load\(|pickle\.loads?\(|yaml\.(unsafe_|full_)?load\(\w+\)|(?<![.\w])(eval|exec)\(",
            code,
        ), path


FUZZ = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


def loads_or_refuses(load: Any, path: Path) -> None:
    try:
        load(path)
    except lthrun.UserError as error:
        assert str(error).isprintable() and len(str(error)) < 5000


@FUZZ
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=6), st.integers(0, 400))
def test_mutated_tickets(tmp_path: Path, changes: list[tuple[int, int]], shorten: int):
    content = bytearray(ticket_file(GOOD))
    for place, value in changes:
        content[place % len(content)] = value
    file = tmp_path / "t.safetensors"
    for whole in (content, content[:shorten]):
        file.write_bytes(whole)
        loads_or_refuses(lthrun.load_ticket, file)


NUMBERS = st.integers(-2, 2**70) | st.integers(0, 12)
ENTRIES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["BOOL", "F32", "F16", "I64", "U8", "F8_E4M3", "F4", "C64", "U16", "?"]),
        "shape": st.lists(NUMBERS, max_size=4),
        "data_offsets": st.lists(NUMBERS, min_size=2, max_size=2),
    }
)


@FUZZ
@given(
    st.dictionaries(st.sampled_from(["mask/a", "state/a", "mask/", "state/"]) | st.text(max_size=8), ENTRIES),
    st.binary(max_size=40),
)
def test_headers_of_any_kind(tmp_path: Path, header: dict[str, Any], body: bytes):
    file = tmp_path / "t.safetensors"
    file.write_bytes(ticket_file(header | {"__metadata__": {"format": FORMAT}}, body))
    loads_or_refuses(lthrun.load_ticket, file)


@FUZZ
@given(st.binary() | st.text().map(str.encode) | st.text("{}[]:,-&*!?|>#'\" \n\tab0.<%@`", max_size=60).map(str.encode))
def test_configs_of_any_bytes(tmp_path: Path, content: bytes):
    file = tmp_path / "c.yaml"
    file.write_bytes(content)
    loads_or_refuses(lthrun.load_config, file)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(10**30, 10**40)
    | st.floats()
    | st.text(max_size=20)
    | st.dates()
)
KEYS = st.sampled_from(
    "experiment seed data model training pruning rewind supermask connectivity method targets sparsity steps "
    "schedule".split()
)
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=5), inner, max_size=4)
)
SECTIONS = st.dictionaries(KEYS, TREES, max_size=4)


@FUZZ
@given(st.sampled_from(["baseline", "ticket", "prune", "supermask", "connectivity"]), SECTIONS)
def test_configs_of_any_tree(tmp_path: Path, experiment: str, tree: dict[str, Any]):
    file = tmp_path / "c.yaml"
    file.write_text(yaml.safe_dump({"experiment": experiment} | tree))
    loads_or_refuses(lthrun.load_config, file)


@FUZZ
@given(st.sampled_from(["baseline", "ticket", "prune", "supermask", "connectivity"]), SECTIONS, st.text(max_size=30))
def test_options_of_any_kind(experiment: str, tree: dict[str, Any], context: str):
    from lthrun.experiments import load_config

    for sets, options in (((context, f"training.epochs={context}"), {}), ((), tree)):
        try:
            load_config(None, experiment, sets, options)
        except lthrun.UserError as error:
            assert str(error).isprintable()
