"""Reproductions to their end on a few small images, through the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lthrun.levels.trainer import LevelTrainer
from lthrun.records import LevelRecord
from lthrun.reproductions import REPRODUCTIONS

IMAGES = {"dataset": "pets", "image_size": 16, "validation": 20.0}
TRAINING = {"epochs": 2, "batch_size": 8}
STUDY = {"sparsities": [48.8], "primary": 48.8, "prune_rate": 50.0}
OWN: dict[str, dict[str, Any]] = {
    "frankle-carbin-2019-lenet": {"compare": STUDY, "training": {**TRAINING, "evaluate_every": 2}},
    "null": {"compare": STUDY},
    "renda-2020-resnet20": {"pruning": {"sparsities": [48.8]}, "rewind": {"to": "2it"}},
}
LENET = "frankle-carbin-2019-lenet"


@pytest.fixture
def reproduce(lthrun: Callable, images: Path, tmp_path: Path, tiny_model: None) -> Callable[..., Any]:
    def call(name: str, *arguments: object) -> Any:
        settings = {"data": IMAGES, "training": TRAINING} | OWN.get(name, {})
        (tmp_path / "small.yaml").write_text(yaml.safe_dump(settings))
        return lthrun("reproduce", name, "--config", "small.yaml", "--data-dir", images, "--out", "out", *arguments)

    return call


@pytest.mark.parametrize("name", REPRODUCTIONS)
def test_every_reproduction_ends_in_its_table_and_page(reproduce: Callable, name: str, tmp_path: Path):
    seeds = 12 if name == "null" else 3
    outcome = reproduce(name, "--quick", "--seeds", seeds)
    assert outcome.status == 0, outcome.err
    assert "published" in outcome.out and "agrees if" in outcome.out and "Quick:" in outcome.out
    folder = tmp_path / "out" / f"reproduce-{name}-quick"
    summary = json.loads((folder / "reproduction.json").read_text())
    assert len(summary["claims"]) == len(REPRODUCTIONS[name].claims) and summary["is_quick"]
    assert any(claim["interval"] for claim in summary["claims"])
    page = (folder / "report.html").read_text("utf-8")
    assert REPRODUCTIONS[name].claims[0].published in page


def test_a_second_call_trains_nothing_and_fewer_seeds_report_what_there_is(reproduce: Callable, tmp_path: Path):
    first = json.loads(reproduce(LENET, "--seeds", 3, "--json").out)
    levels = sorted(path.name for path in (tmp_path / "out" / "levels").glob("*/level.json"))
    again = reproduce(LENET, "--seeds", 3, "--json")
    assert json.loads(again.out) == first and "already finished" in again.err
    fewer = json.loads(reproduce(LENET, "--seeds", 2, "--json").out)
    assert {claim["answer"] for claim in fewer["claims"]} == {"not decided"}
    assert fewer["changes"][0] == "Seeds: 2 instead of 10; with fewer than 3 no claim is decided."
    measured = [claim for claim in fewer["claims"] if claim["value"] is not None]
    assert measured and all(claim["n"] == 2 and claim["interval"] is None for claim in measured)
    assert sorted(path.name for path in (tmp_path / "out" / "levels").glob("*/level.json")) == levels


def test_its_folder_is_no_run_and_the_message_says_what_to_do(reproduce: Callable, lthrun: Callable, tmp_path: Path):
    reproduce("null", "--seeds", 1)
    for command in ("resume", "report"):
        outcome = lthrun(command, tmp_path / "out" / "reproduce-null")
        assert outcome.status == 2 and "a reproduction; to go on, or to see it again, repeat" in outcome.err


def test_a_dry_run_trains_nothing(reproduce: Callable, tmp_path: Path):
    foreseen = json.loads(reproduce(LENET, "--seeds", 2, "--dry-run", "--json").out)
    assert foreseen["experiment"] == LENET and foreseen["to_train"] == 2 * (2 + 2)
    runs = json.loads(reproduce("fasterai-tutorial", "--seeds", 2, "--dry-run", "--json").out)
    assert len(runs["rows"]) == 2 * 4
    assert not list(tmp_path.glob("out/*/reproduction.json"))


def test_what_is_missing_is_said_and_repeating_repairs_it(
    reproduce: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    train = LevelTrainer.train

    def fail_once(self: LevelTrainer) -> LevelRecord:
        if self.level.control == "random-init" and self.builder.config.seed == 1:
            raise RuntimeError("no luck")
        return train(self)

    monkeypatch.setattr(LevelTrainer, "train", fail_once)
    outcome = reproduce(LENET, "--seeds", 4)
    assert outcome.status == 2 and "random-init at 48.8 %, seed 1: RuntimeError: no luck" in outcome.err
    claims = json.loads((tmp_path / "out" / f"reproduce-{LENET}" / "reproduction.json").read_text())["claims"]
    assert {claim["n"] for claim in claims} == {0, 4}
    monkeypatch.setattr(LevelTrainer, "train", train)
    assert reproduce(LENET, "--seeds", 4).status == 0


def test_another_name_is_refused_in_one_line(lthrun: Callable):
    outcome = lthrun("reproduce", "zhou")
    assert outcome.status == 2 and outcome.err.count("\n") == 1 and "must be one of frankle-carbin" in outcome.err


def test_what_is_wrong_in_a_config_names_its_file(lthrun: Callable, tmp_path: Path):
    config = tmp_path / "own.yaml"
    config.write_text("training: {epochs: many}")
    outcome = lthrun("reproduce", "null", "--config", config)
    assert outcome.status == 2 and f"{config}: training.epochs: found 'many'" in outcome.err


def test_a_config_that_names_a_key_by_its_path_is_refused_as_elsewhere(lthrun: Callable, tmp_path: Path):
    config = tmp_path / "own.yaml"
    config.write_text("training.epochs: 2")
    outcome = lthrun("reproduce", "null", "--config", config)
    assert outcome.status == 2 and f"{config}: training.epochs: unknown key" in outcome.err


@pytest.mark.parametrize(("key", "text"), [("seed", "seed: 7"), ("compare.seeds", "compare: {seeds: 7}")])
def test_a_config_that_sets_the_seeds_is_refused(lthrun: Callable, tmp_path: Path, key: str, text: str):
    config = tmp_path / "own.yaml"
    config.write_text(text)
    outcome = lthrun("reproduce", "null", "--config", config)
    assert outcome.status == 2 and outcome.err.count("\n") == 1
    assert f"{key}: found 7; a reproduction counts its seeds: use --seeds" in outcome.err
