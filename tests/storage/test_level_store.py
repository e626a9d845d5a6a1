"""Cached levels and checkpoints: what is damaged is set aside, and training starts from what is whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lthrun.events import Damaged, Event, Resumed, Step
from lthrun.experiments import Result
from lthrun.storage import level_store, tensor_files
from lthrun.storage.level_store import LevelStore
from lthrun.storage.tensor_files import read_tensors
from tests.conftest import assert_same, interrupt, run, select, timeless
from tests.storage.conftest import TICKET
from tests.storage.damage import flip_bit

pytestmark = pytest.mark.usefixtures("tiny_module")


@pytest.fixture(scope="module")
def stopped(small: Callable, tiny_module: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """An output root with a training that was stopped in its fourth epoch, and the uninterrupted result."""
    out, config = tmp_path_factory.mktemp("stopped"), small("baseline", **{"training.epochs": 4})
    interrupt(config, out / "stopped", 20)
    return out / "stopped", run(config, out / "whole")


def change_digit(place: float) -> Callable[[Path], None]:
    """Change an accuracy in level.json, which stays valid JSON."""

    def change(level: Path) -> None:
        text = (level / "level.json").read_text()
        at = text.index('"accuracy"', int(place * text.rindex('"accuracy"')))
        digit = next(i for i in range(at, len(text)) if text[i].isdigit())
        (level / "level.json").write_text(text[:digit] + str((int(text[digit]) + 1) % 10) + text[digit + 1 :])

    return change


def write_record(content: str) -> Callable[[Path], None]:
    return lambda level: (level / "level.json").write_text(content) and None


def leave_a_junk_checkpoint(level: Path) -> None:
    shutil.rmtree(level)
    level.with_name(f"{level.name}.part").mkdir()
    level.with_name(f"{level.name}.part").joinpath("checkpoint.safetensors").write_text("junk")


DAMAGES: dict[str, Callable[[Path], None]] = {
    "end missing": lambda level: (level / "end.safetensors").unlink(),
    "end truncated": lambda level: os.truncate(level / "end.safetensors", 100),
    "end flipped": lambda level: flip_bit(level / "end.safetensors", 0.9),
    "epoch missing": lambda level: (level / "epoch-1.safetensors").unlink(),
    "epoch flipped": lambda level: flip_bit(level / "epoch-1.safetensors", 0.9),
    "optimizer flipped": lambda level: flip_bit(level / "optimizer.safetensors", 0.9),
    "first accuracy changed": change_digit(0.2),
    "middle accuracy changed": change_digit(0.5),
    "last accuracy changed": change_digit(0.8),
    "record cut": write_record("{"),
    "record empty": write_record("{}"),
    "record without files": write_record('{"files": {}}'),
    "record with a list": write_record('{"files": []}'),
    "record deep": write_record("[" * 200_000),
    "checkpoint": leave_a_junk_checkpoint,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_level_is_set_aside_and_trained_again(
    small: Callable, finished: tuple[Path, Result], tmp_path: Path, damage: str
):
    out, first = finished
    shutil.copytree(out, tmp_path / "out")
    key = first.summary.levels[0].key
    DAMAGES[damage](tmp_path / "out" / "levels" / key)
    (tmp_path / "out" / first.run_dir.name / "summary.json").unlink()
    events: list[Event] = []
    again = run(small("ticket", **TICKET), tmp_path / "out", events.append)
    (damaged,) = select(events, Damaged)
    assert damaged.what == ("checkpoint" if damage == "checkpoint" else "result") and Path(damaged.aside).exists()
    assert [level.reused for level in again.summary.levels] == [False, True]
    assert_same(again, first)


@pytest.mark.parametrize("place", [0.0, 0.05, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("both", [False, True])
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_it_used(
    small: Callable, stopped: tuple[Path, Result], tmp_path: Path, place: float, both: bool
):
    out, whole = stopped
    shutil.copytree(out, tmp_path / "out")
    (part,) = (tmp_path / "out" / "levels").glob("*.part")
    for name in ("checkpoint", "checkpoint-previous")[: 1 + both]:
        flip_bit(part / f"{name}.safetensors", place)
    events: list[Event] = []
    rest = run(small("baseline", **{"training.epochs": 4}), tmp_path / "out", events.append)
    damaged = select(events, Damaged)
    assert len(damaged) == 1 + both and all(Path(event.aside).is_file() for event in damaged)
    assert [event.level_epoch for event in select(events, Resumed)] == ([] if both else [2])
    assert_same(rest, whole)


def test_the_last_good_checkpoint_is_whole_and_finite(tmp_path: Path):
    store = LevelStore(tmp_path)

    def write(value: float, **more: torch.Tensor) -> None:
        store.write_checkpoint("a", {"w": torch.tensor([value]), **more}, {})

    assert store.last_good_checkpoint("a") is None
    write(1.0)
    write(2.0)
    newest, before = (tmp_path / "levels" / "a.part" / f"checkpoint{which}.safetensors" for which in ("", "-previous"))
    assert store.last_good_checkpoint("a") == newest
    flip_bit(newest, 1.0)
    assert store.last_good_checkpoint("a") == before
    write(3.0)
    write(float("inf"), mask=torch.tensor([True]))
    assert store.last_good_checkpoint("a") == before and read_tensors(before)[0]["w"] == 3
    write(float("nan"))
    assert store.last_good_checkpoint("a") is None


def test_a_run_checks_the_digest_of_each_file_once(
    small: Callable, finished: tuple[Path, Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shutil.copytree(finished[0], tmp_path / "out")
    checked: list[Path] = []
    is_intact = tensor_files.is_intact
    for module in (tensor_files, level_store):
        monkeypatch.setattr(module, "is_intact", lambda path: (checked.append(path), is_intact(path))[1])
    run(small("supermask", **TICKET), tmp_path / "out")
    assert len(checked) == len(set(checked)) > 0


def test_a_level_killed_while_it_is_finished_loses_one_epoch_at_most(
    small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LevelStore, "finish", killed)
        with pytest.raises(KeyboardInterrupt):
            run(small("baseline"), tmp_path)
    events: list[Event] = []
    result = run(small("baseline"), tmp_path, events.append)
    assert len(select(events, Step)) == 6
    level = tmp_path / "levels" / result.summary.levels[0].key
    assert {path.name for path in level.iterdir()} == {
        "level.json", "end.safetensors", "optimizer.safetensors", "epoch-1.safetensors",
    }  # fmt: skip


def test_an_interrupted_replacement_is_undone(small: Callable, finished: tuple[Path, Result], tmp_path: Path):
    out, first = finished
    shutil.copytree(out / "levels", tmp_path / "levels")
    level = tmp_path / "levels" / first.summary.levels[0].key
    level.rename(level.with_name(f"{level.name}.old"))
    assert run(small("ticket", **TICKET), tmp_path).summary.levels[0].reused


def test_an_interrupted_fresh_run_loses_nothing_and_leaves_nothing(
    small: Callable, finished: tuple[Path, Result], tmp_path: Path
):
    out, first = finished
    shutil.copytree(out, tmp_path / "out")
    interrupt(small("ticket", **TICKET), tmp_path / "out", 8, fresh=True)
    again = run(small("ticket", **TICKET), tmp_path / "out")
    assert again.summary.levels[0].reused and timeless(again) == timeless(first)
    assert not list((tmp_path / "out" / "levels").glob("*.part"))
