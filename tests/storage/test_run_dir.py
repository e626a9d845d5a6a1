"""Run directories: what one holds, how a damaged one is restored from its levels, and which are not read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lthrun.errors import UserError
from lthrun.events import Event, LevelReused, Step
from lthrun.experiments import Result, read_config
from lthrun.experiments.reading import list_finished
from lthrun.storage.json_files import read_json
from lthrun.storage.run_dir import RunDir
from tests.conftest import assert_same, read_events, run, select
from tests.storage.conftest import TICKET

pytestmark = pytest.mark.usefixtures("tiny_module")
OLD = Path(__file__).parents[1] / "data" / "ticket-s0-c9bae299"  # of format 1


def test_a_run_directory_holds_what_it_promises(finished: tuple[Path, Result]):
    run_dir, metrics = finished[1].run_dir, finished[1].metrics
    assert {path.name for path in run_dir.iterdir()} - {".lock"} == {
        "config.yaml", "environment.json", "split.json", "metrics.jsonl", "events.jsonl", "summary.json",
        "model.safetensors", "ticket.safetensors",
    }  # fmt: skip
    assert run_dir.name.startswith("ticket-s0-") and len(run_dir.name) == len("ticket-s0-") + 8
    fields = {
        "epoch", "level", "level_epoch", "sparsity", "train_loss", "valid_loss", "accuracy", "balanced_accuracy",
        "seconds", "images_per_second", "time",
    }  # fmt: skip
    assert all(set(line) == fields for line in metrics) and [line["epoch"] for line in metrics] == [0, 1, 2, 3]
    summary = read_json(run_dir / "summary.json")
    assert summary is not None and summary == finished[1].summary.model_dump(mode="json")
    assert summary["format"] == 2 and {
        "experiment", "seed", "device", "precision", "n_train", "n_valid", "majority_rate", "accuracy",
        "accuracy_interval", "balanced_accuracy", "balanced_accuracy_interval", "sparsity", "epochs", "levels",
        "seconds", "run_dir",
    } <= set(summary)  # fmt: skip
    counts = [
        len(read_events(run_dir, kind)) for kind in ("run_started", "state_saved", "pruned", "rewound", "run_finished")
    ]
    assert counts == [1, 1, 1, 1, 1]
    assert RunDir(run_dir).level_keys() == {level.key for level in finished[1].summary.levels}


@pytest.mark.parametrize("name", ["metrics.jsonl", "summary.json", "ticket.safetensors", "model.safetensors"])
@pytest.mark.parametrize("content", [None, "cut", "{}", "[]"])
def test_a_damaged_run_directory_is_restored_from_its_levels(
    small: Callable, finished: tuple[Path, Result], tmp_path: Path, name: str, content: str | None
):
    out, first = finished
    shutil.copytree(out, tmp_path / "out")
    path = tmp_path / "out" / first.run_dir.name / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-30] if content == "cut" else content.encode())
    events: list[Event] = []
    again = run(small("ticket", **TICKET), tmp_path / "out", events.append)
    assert not select(events, Step) and len(select(events, LevelReused)) == 2
    assert_same(again, first)


def test_a_directory_of_format_1_is_refused_in_one_line(tmp_path: Path):
    shutil.copytree(OLD, tmp_path / OLD.name)
    for name in ("summary.json", "environment.json"):  # either of them says which format it is
        with pytest.raises(UserError) as error:
            read_config(tmp_path / OLD.name)
        assert str(error.value) == (
            f"{tmp_path / OLD.name}: written in format 1; this lthrun reads format 2: use the version that "
            "environment.json names, or run it again with another --out"
        )
        (tmp_path / OLD.name / name).unlink()
    assert list_finished(tmp_path) == []


def test_a_run_in_a_directory_of_another_format_is_refused_and_changes_nothing(
    small: Callable, finished: tuple[Path, Result], tmp_path: Path
):
    run_dir = tmp_path / finished[1].run_dir.name
    run_dir.mkdir()
    (run_dir / "environment.json").write_text('{"format": 3}')
    with pytest.raises(UserError, match="written in format 3; this lthrun reads format 2"):
        run(small("ticket", **TICKET), tmp_path)
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*.*")] == [Path(run_dir.name, "environment.json")]


@pytest.mark.parametrize(
    "content", ["[" * 200_000, '{"format": 2, "files": {}}', '{"format": 2, "files": []}', "null", '"text"', "{"]
)
def test_a_summary_that_is_none_is_not_listed(finished: tuple[Path, Result], tmp_path: Path, content: str):
    shutil.copytree(finished[1].run_dir, tmp_path / "whole")
    for name in ("[bold]x", "plain"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "summary.json").write_text(content)
    assert [summary.run_dir for _, summary in list_finished(tmp_path)] == [str(tmp_path / "whole")]


def test_evaluations_are_read_back_but_for_a_truncated_line(tmp_path: Path):
    run_dir = RunDir(tmp_path)
    assert run_dir.read_evaluations() == {}
    run_dir.append_evaluation("mask", correct=[1, 2])
    run_dir.append_evaluation("dense", correct=[3, 4])
    path = tmp_path / "evaluations.jsonl"
    path.write_text(path.read_text()[:-5])
    assert run_dir.read_evaluations() == {"mask": {"name": "mask", "correct": [1, 2]}}
    run_dir.append_evaluation("dense", correct=[3, 4])
    assert json.loads(path.read_text().splitlines()[-1]) == run_dir.read_evaluations()["dense"]
