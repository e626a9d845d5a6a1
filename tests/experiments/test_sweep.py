"""Sweeps, and dry runs of sweeps and studies, through the command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from lthrun.experiments.summaries import RunSummary
from lthrun.levels.states import NetworkStates
from lthrun.report.lists import sweep_table
from lthrun.report.terminal import show_tables
from lthrun.sparsity.masks import Tensors
from tests.conftest import SMALL_SETS, TIMES, digest, read_lines

GRID = ["--grid", "pruning.sparsity=50,80", "--grid", "pruning.criterion=large_final,random"]
SHORT = ["--set", "pruning.steps=2"]


@pytest.fixture
def command(lthrun: Callable, images: Path, tiny_model: None) -> Callable:
    def call(*arguments: object, out: str = "out") -> Any:
        more = SHORT if {"ticket", "supermask"} & set(arguments[:2]) else []
        return lthrun(*arguments, "--data-dir", images, "--out", out, *SMALL_SETS, *more)

    return call


def timeless_metrics(run: Path) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in line.items() if key not in TIMES} for line in read_lines(run / "metrics.jsonl")
    ]


def test_a_sweep_is_ordinary_runs_whose_levels_are_trained_once(command: Callable, tmp_path: Path):
    outcome = command("sweep", "ticket", *GRID, "--json")
    assert outcome.status == 0, outcome.err
    summaries = json.loads(outcome.out)
    assert [list(summary["grid"].values()) for summary in summaries] == [
        [50, "large_final"], [50, "random"], [80, "large_final"], [80, "random"]
    ]  # fmt: skip
    assert "4 runs of ticket, 9 levels" in outcome.err  # level 0, and two each
    assert len(list(tmp_path.glob("out/levels/*/level.json"))) == 9
    for summary in summaries:
        sparsity, criterion = summary["grid"].values()
        alone = command("ticket", "--sparsity", sparsity, "--criterion", criterion, "--json", out="alone")
        expected = json.loads(alone.out)
        assert Path(expected["run_dir"]).name == Path(summary["run_dir"]).name
        assert expected["accuracy_interval"] == summary["accuracy_interval"]
        for name in ("model", "ticket"):
            one, other = (tmp_path / run["run_dir"] / f"{name}.safetensors" for run in (expected, summary))
            assert digest(one) == digest(other)
        assert timeless_metrics(tmp_path / expected["run_dir"]) == timeless_metrics(tmp_path / summary["run_dir"])
    again = command("sweep", "ticket", *GRID)
    assert again.status == 0 and "4 runs of ticket, 0 levels" in again.out


def test_its_table_has_a_row_per_run_within_80_columns(command: Callable):
    summaries = json.loads(command("sweep", "ticket", *GRID[:2], "--grid", "seed=0,1", "--json").out)
    rows = [(summary.pop("grid"), RunSummary.model_validate(summary)) for summary in summaries]
    console = Console(width=80, record=True, force_terminal=False)
    show_tables(console, [sweep_table(rows)])
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    lines = [line.split() for line in text.splitlines() if "ticket-s" in line]
    assert [line[:-7] for line in lines] == [["50", "0"], ["1"], ["80", "0"], ["1"]]  # a name that repeats once only
    for line, (_, summary) in zip(lines, rows, strict=True):
        low, high = summary.accuracy_interval
        assert line[-7:-3] == [f"{100 * summary.accuracy:.1f}", f"({100 * low:.1f}", "to", f"{100 * high:.1f})"]
        assert line[-3:] == [f"{100 * summary.balanced_accuracy:.1f}", f"{summary.sparsity:.2f}",
                             Path(summary.run_dir).name]  # fmt: skip
    assert f"Majority rate: {100 * rows[0][1].majority_rate:.1f} %" in " ".join(text.split())


def test_points_that_mean_the_same_run_are_one(command: Callable, tmp_path: Path):
    outcome = command("sweep", "baseline", "--grid", "seed=1,1,0x1", "--json")
    assert outcome.status == 0 and len(json.loads(outcome.out)) == 1
    assert len(list(tmp_path.glob("out/baseline-s1-*"))) == 1


def test_a_supermask_is_swept_too_and_its_row_shows_the_supermask(command: Callable):
    sweep = ("sweep", "supermask", "--grid", "supermask.batch_norm=recalibrate,initial")
    outcome = command(*sweep, "--json")
    assert outcome.status == 0, outcome.err
    masks = [summary["supermask"] for summary in json.loads(outcome.out)]
    assert [mask["batch_norm"] for mask in masks] == ["recalibrate", "initial"]
    text = command(*sweep).out
    for mask in masks:
        assert f"{100 * mask['accuracy']:.1f} ({100 * mask['accuracy_interval'][0]:.1f}" in text


BAD = {
    "no value": (["--grid", "seed"], "--grid: found 'seed'; must be section.key=value,value"),
    "empty list": (["--grid", "seed="], "--grid: found 'seed='; must be"),
    "not YAML": (["--grid", "seed=[1"], "--grid seed=[1: line 1"),
    "twice": (["--grid", "seed=1", "--grid", "seed=2"], "--grid seed: found twice; must be one list"),
    "unknown key": (["--grid", "pruning.sparsty=50"], "--grid, at sparsty=50: pruning.sparsty: unknown key; did you mean pruning.sparsity?"),
    "bad value": (["--grid", "pruning.sparsity=50,0.8"], "--grid, at sparsity=0.8: pruning.sparsity: found 0.8; sparsity is in percent, so write 80"),
    "beyond the model": (["--grid", "pruning.sparsity=50,99.9"], "--grid, at sparsity=99.9: pruning.sparsity"),
    "no grid": ([], "Missing option '--grid'"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_one_bad_point_refuses_all_before_anything_is_trained(case: str, command: Callable, tmp_path: Path):
    arguments, message = BAD[case]
    more = ["--set", "pruning.granularity=filter"] if case == "beyond the model" else []
    outcome = command("sweep", "ticket", *arguments, *more)
    assert outcome.status == 2 and message in outcome.err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_a_run_that_fails_is_named_and_the_others_are_finished(
    command: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    start = NetworkStates.start

    def start_or_fail(self: NetworkStates, level: Any, masks: Tensors) -> Tensors:
        if level.index == 1 and self.config.pruning.criterion == "random":
            raise RuntimeError("the device is on fire")
        return start(self, level, masks)

    with monkeypatch.context() as patch:
        patch.setattr(NetworkStates, "start", start_or_fail)
        outcome = command("sweep", "ticket", *GRID[2:], "--grid", "seed=0")
    assert outcome.status == 2 and "ticket-s0-" in outcome.out
    last = outcome.err.splitlines()[-1]
    assert "sweep: 1 of 2 runs failed" in last and "criterion=random, seed=0: " in last and "on fire" in last
    again = command("sweep", "ticket", *GRID[2:], "--grid", "seed=0", "--json")
    assert again.status == 0 and len(json.loads(again.out)) == 2


def test_a_dry_sweep_says_what_it_would_train_and_trains_nothing(command: Callable, tmp_path: Path):
    fresh = json.loads(command("sweep", "ticket", *GRID, "--dry-run", "--json").out)
    assert [row["to_train"] for row in fresh["rows"]] == [3, 2, 2, 2] and fresh["to_train"] == 9
    assert not (tmp_path / "out").exists()
    assert fresh["seconds"] > 0 and fresh["bytes"] == sum(row["bytes"] for row in fresh["rows"])
    run = json.loads(command("ticket", "--sparsity", "50", "--json").out)
    partly = json.loads(command("sweep", "ticket", *GRID, "--dry-run", "--json").out)
    assert [row["is_finished"] for row in partly["rows"]] == [True, False, False, False]
    # What is finished needs no level; level 0 is then reused by the run that needs it first.
    assert [row["to_train"] for row in partly["rows"]] == [0, 2, 2, 2]
    assert [row["reused"] for row in partly["rows"]] == [0, 1, 0, 0]
    shutil.rmtree(tmp_path / "out" / "levels" / run["levels"][0]["key"])
    text = command("sweep", "ticket", *GRID, "--dry-run").out
    assert "finished" in text and "nothing was trained" in text


ARMS = [
    "--arms", "dense,ticket,supermask,random-mask", "--seeds", "2", "--sparsities", "50", "--set",
    "compare.prune_rate=50",
]  # fmt: skip


def test_a_dry_comparison_says_what_each_arm_adds(command: Callable, tmp_path: Path):
    dry_run = json.loads(command("compare", *ARMS, "--dry-run", "--json").out)
    assert not (tmp_path / "out").exists()
    rows = {row["name"]: (row["levels"], row["to_train"], row["reused"]) for row in dry_run["rows"]}
    assert rows == dict.fromkeys(("dense", "ticket", "supermask", "random-mask"), (2, 2, 0))
    assert (dry_run["levels"], dry_run["to_train"], dry_run["is_finished"]) == (8, 8, False)
    seconds = {row["name"]: row["seconds"] for row in dry_run["rows"]}
    assert seconds["supermask"] == 0 < seconds["ticket"] == seconds["dense"]  # evaluated, never trained
    command("baseline", "--set", "training.schedule=cosine", "--set", "training.evaluate_every=23", "--set",
            "training.evaluate_images=500", "--set", "data.test=20")  # fmt: skip
    dry_run = json.loads(command("compare", *ARMS, "--dry-run", "--json").out)
    assert [row["reused"] for row in dry_run["rows"]] == [1, 0, 0, 0]
    assert command("compare", *ARMS).status == 0
    text = command("compare", *ARMS, "--dry-run").out
    assert "already finished" in text and "random-mask" in text


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_quiet_is_one_line(command: Callable, more: list[str]):
    outcome = command("sweep", "baseline", "--grid", "seed=0,1", "--quiet", *more)
    assert outcome.status == 0 and outcome.out.count("\n") == 1 and not outcome.err
    assert outcome.out == (
        "sweep: 2 of 2 runs of baseline finished; `lthrun runs --out out` lists them\n"
        if not more
        else "would be written in out; nothing was trained\n"
    )
