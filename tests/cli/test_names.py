"""Every name in every table runs end to end through the command line, and is listed with an explanation."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from lthrun.experiments.listing import LISTED
from lthrun.sparsity.criteria import CRITERIA
from lthrun.sparsity.schedules import SCHEDULES

SMALL = ["--set", "data.image_size=16", "--set", "training.batch_size=8", "--epochs", "1", "--json"]
CASES: list[tuple[str, str, list[str]]] = [
    *(("criteria", name, ["ticket", "--criterion", name, "--steps", "2"]) for name in LISTED["criteria"][1]),
    *(
        ("granularities", name, ["ticket", "--steps", "1", "--granularity", name])
        for name in LISTED["granularities"][1]
        if name not in ("layer", "n:m")
    ),
    ("granularities", "layer", ["ticket", "--steps", "1", "--granularity", "layer", "--context", "global",
                                "--sparsity", "70"]),
    ("granularities", "n:m", ["ticket", "--steps", "1", "--granularity", "2:4", "--set", "pruning.first=false"]),
    *(
        ("schedules", name, ["prune", "--schedule", name, "--steps", "3",
                             *(["--set", "pruning.sparsities=[20, 60, 40]"] if name == "custom" else [])])
        for name in LISTED["schedules"][1]
    ),
    *(("resets", name, ["supermask", "--steps", "1", "--set", f"rewind.kept={name}"]) for name in LISTED["resets"][1]),
    *(("pruned", name, ["ticket", "--steps", "1", "--set", f"rewind.pruned={name}"]) for name in LISTED["pruned"][1]),
    *(("supermasks", name, ["supermask", "--method", name]) for name in LISTED["supermasks"][1]),
    *(("learning-rates", name, ["ticket", "--steps", "1", "--set", f"training.schedule={name}"]) for name in LISTED["learning-rates"][1]),
    *(("optimizers", name, ["baseline", "--set", f"training.optimizer={name}"]) for name in LISTED["optimizers"][1]),
    *(("arms", name, ["compare", "--arms", name, "--seeds", "1", "--sparsities", "20", "--set", "compare.rewind=0ep"])
      for name in LISTED["arms"][1]),
]  # fmt: skip


def test_every_name_has_a_case_here_or_in_tests_of_its_own():
    covered = {(table, name) for table, name, _ in CASES}
    wanted = {(table, name) for table, (_, names) in LISTED.items() for name in names}
    assert {table for table, _ in wanted - covered} == {
        "models",
        "datasets",
        "executors",
        "augmentations",
        "reproductions",
    }  # tests/models, tests/data, tests/executors, tests/reproductions


@pytest.mark.usefixtures("tiny_model")
@pytest.mark.parametrize(("table", "name", "arguments"), CASES, ids=[f"{table}-{name}" for table, name, _ in CASES])
def test_every_name_runs_through_the_command_line(
    table: str, name: str, arguments: list[str], lthrun: Callable, images: Path
):
    outcome = lthrun(*arguments, *SMALL, "--data-dir", images)
    assert outcome.status == 0, outcome.err
    summary = json.loads(outcome.out)
    if arguments[0] in ("ticket", "supermask") and name not in ("lth", "edge-popup", "bernoulli"):
        removed = {n: zero for n, (zero, _) in summary["levels"][-1]["layers"].items()}
        if name == "layer":
            assert removed == {"0.weight": 0, "3.weight": 288} or removed == {"0.weight": 108, "3.weight": 0}
        elif name == "n:m":
            assert removed == {"3.weight": 144}
        elif name.startswith("shared_") or name in ("row", "column"):
            assert all(0 < count < 288 for count in removed.values()), removed  # three groups: 2 of them, or 1
        elif name in CRITERIA and CRITERIA[name].context == "global":
            assert sum(removed.values()) == 198, "half of all weights, ranked together"
        else:
            assert removed == {"0.weight": 54, "3.weight": 144}
        assert (summary["sparsity"] > 0) and summary["differs"]
    if arguments[0] == "prune":
        assert summary["sparsity"] == pytest.approx({"dsd": 0, "custom": 40}.get(name, 50), abs=0.2)


@pytest.mark.parametrize("name", [name for name, entry in SCHEDULES.items() if not entry.stepped])
def test_a_ticket_refuses_what_moves_smoothly_and_says_why(lthrun: Callable, name: str):
    outcome = lthrun("ticket", "--schedule", name)
    assert outcome.status == 2 and outcome.out == ""
    assert outcome.err.count("\n") == 1
    assert f"pruning.schedule: found {name}; a ticket rewinds at every change of sparsity" in outcome.err
    assert "lthrun prune" in outcome.err


def test_list_names_every_name_unbroken_with_a_line_on_each(lthrun: Callable):
    printed = lthrun("list")
    assert printed.status == 0
    for table, (key, names) in LISTED.items():
        assert f"{table} ({key})" in printed.out
        alone = lthrun("list", table).out
        for name, about in names.items():
            (line,) = [line for line in alone.splitlines() if line.split()[:1] == [name]]
            assert about.split()[0] in line and about[0] == about[0].strip() and about.endswith((".", ")")), about


def test_names_are_not_broken_in_a_narrow_terminal(lthrun: Callable, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("FORCE_COLOR", "1")
    for table, (_, names) in LISTED.items():
        printed = lthrun("list", table).out.split("\n")
        lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in printed]
        assert max(map(len, lines)) <= 40
        assert all(any(line.split()[:1] == [name] for line in lines) for name in names)


def test_list_of_an_unknown_table_names_the_tables(lthrun: Callable):
    outcome = lthrun("list", "colors")
    assert list(LISTED)[:3] == ["executors", "arms", "augmentations"]
    assert outcome.status == 2 and f"must be one of {', '.join(LISTED)}" in outcome.err


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_schedule_draws_each(lthrun: Callable, name: str):
    outcome = lthrun("schedule", name, *(["--sparsities", "20,36,50"] if name == "custom" else []))
    assert outcome.status == 0 and outcome.out.count("█") > 20
    assert f"{name}: sparsity in %" in outcome.out


def test_schedule_fits_a_narrow_terminal(lthrun: Callable, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("FORCE_COLOR", "1")
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lthrun("schedule", "agp").out.splitlines()]
    assert max(map(len, lines)) <= 40 and sum("│" in line for line in lines) == 10


def test_schedule_lists_the_prunings(lthrun: Callable):
    lines = [line.split() for line in lthrun("schedule", "geometric", "--sparsity", "48.8").out.splitlines()]
    assert ["1", "20.00", "20.00"] in lines and ["2", "36.00", "20.00"] in lines and ["3", "48.80", "20.00"] in lines


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cubic"], "pruning.schedule: found 'cubic'; must be one of one_shot, iterative"),
        (["agp", "--sparsity", "0.5"], "pruning.sparsity: found 0.5; sparsity is in percent"),
        (["custom"], "pruning.sparsities: found []; schedule: custom and a list like [20, 36, 50] go together"),
        (["custom", "--sparsities", "20,many"], "pruning.sparsities.1: found 'many'; must be a valid number"),
        (["agp", "--initial-sparsity", "60"], "pruning.initial_sparsity: found 60; must not be above sparsity"),
    ],
)
def test_a_wrong_schedule_is_one_line(lthrun: Callable, arguments: list[str], message: str):
    outcome = lthrun("schedule", *arguments)
    assert outcome.status == 2 and message in outcome.err and outcome.err.count("\n") == 1
