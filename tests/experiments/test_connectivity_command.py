"""The command `connectivity`: its dry run, table and page, and what it refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SMALL_SETS


@pytest.fixture
def command(lthrun: Callable, images: Path, tiny_model: None) -> Callable:
    usual = ["--data-dir", images, "--out", "out", "--steps", 1, *SMALL_SETS, "--epochs", 1]
    return lambda *more: lthrun("connectivity", "--rewind-points", "0ep, 3it", *usual, *more)


def test_the_command_shows_a_row_per_rewind_point_and_network_in_80_columns(
    command: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    dry_run = json.loads(command("--dry-run", "--json").out)
    assert dry_run["evaluated_networks"] == 4 * 11 and not (tmp_path / "out").exists()
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")
    outcome = command()
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", outcome.out)
    report = shown[shown.index("Error barrier between two trainings") :].splitlines()
    assert outcome.status == 0 and max(map(len, report)) <= 80
    rows = [line for line in report if re.match(r"(0ep|3it|   ) +(dense|ticket) +\d", line)]
    assert [row.split()[0 if row[0] == " " else 1] for row in rows] == ["dense", "ticket"] * 2
    assert [row[:3] for row in rows] == ["0ep", "   ", "3it", "   "]
    assert all(len(re.findall("[▁▂▃▄▅▆▇█]", row)) == 11 for row in rows)
    monkeypatch.undo()
    summary = json.loads(command("--json").out)
    assert dry_run["to_train"] == len(list(tmp_path.glob("out/levels/*/level.json")))
    assert summary["run_dir"] == dry_run["run_dir"]
    assert all(f"{100 * path['barrier']:.1f} (" in row for path, row in zip(summary["connectivity"], rows, strict=True))
    again = json.loads(command("--dry-run", "--json").out)
    assert (again["is_finished"], again["evaluated_networks"], again["to_train"]) == (True, 0, 0)


def test_its_page_shows_the_error_path(command: Callable, lthrun: Callable, tmp_path: Path):
    summary = json.loads(command("--json").out)
    run_dir = tmp_path / summary["run_dir"]
    assert lthrun("report", run_dir).status == 0
    rows = (run_dir / "figures" / "error-path.csv").read_text().splitlines()
    assert rows[0] == "rewind_point,network,alpha,error,loss" and len(rows) == 1 + 4 * 11
    last = summary["connectivity"][-1]
    assert rows[-1].split(",")[:4] == ["3it", "ticket", "1.0", str(last["errors"][-1])]
    page = (run_dir / "report.html").read_text()
    assert "Error between two trainings" in page
    for path in summary["connectivity"]:
        assert f"{100 * path['barrier']:.1f} (" in page


def test_quiet_is_one_line(command: Callable):
    outcome = command("--quiet")
    assert outcome.status == 0 and outcome.out.count("\n") == 1 and outcome.err == ""
    assert outcome.out.startswith("connectivity: The ticket is ") and " The dense network is " in outcome.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rewind-points", "0ep,5ep"], "connectivity.rewind_points: found 5ep; must lie before the end of level 0"),
        (
            ["--rewind-points", "0ep,12it", "--data-dir", "IMAGES", *SMALL_SETS],
            "found 12it; must lie before the end of",
        ),
        (["--rewind-points", "1ep,1ep"], "connectivity.rewind_points: found ['1ep', '1ep']; values must be unique"),
        (
            ["--rewind-points", "1ep,0ep,6it", "--data-dir", "IMAGES", *SMALL_SETS],
            "an epoch has 6 steps, so that some of them",
        ),
        (["--rewind-points", "1"], "connectivity.rewind_points.0: found 1; must be like 0ep, 1ep or 200it"),
        (["--rewind-points", "x"], "connectivity.rewind_points.0: found 'x'; must be like 0ep, 1ep or 200it"),
        (["--rewind-points", ""], "connectivity.rewind_points: found []; must be a list of one or more, like [a, b]"),
        (["--set", "connectivity.points=2"], "connectivity.points: found 2; must be greater than or equal to 3"),
        (["--set", "rewind.to=1ep"], "rewind.to: found 1ep; connectivity.rewind_points replaces it: leave it out"),
        (["--set", "rewind.retrain=finetune"], "rewind.retrain: found finetune; the two trainings must start from"),
        (["--set", "pruning.protocol=fasterai"], "pruning.protocol: found fasterai; the two trainings must start"),
        (["--set", "training.schedule=cosine"], "rewind.train: found full; a level rewound into the training would"),
        (["--set", "rewind.kept=redraw"], "rewind.kept: found redraw; the resets of Zhou et al. start from"),
    ],
)
def test_unusable_settings_are_refused_in_one_line(
    lthrun: Callable, images: Path, arguments: list[Any], message: str, tmp_path: Path
):
    outcome = lthrun("connectivity", *[images if a == "IMAGES" else a for a in arguments])
    assert outcome.status == 2 and outcome.err.count("\n") == 1 and message in outcome.err
    assert not list(tmp_path.iterdir())
