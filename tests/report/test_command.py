"""`lthrun report` and `lthrun runs`, through the command line."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import SMALL_SETS
from tests.report.conftest import read_csv, read_page, summary_of
from tests.studies import write_study


def test_report_shows_writes_and_names_the_page(lthrun: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first, second = (write_study(tmp_path / name, ("dense", "ticket"), (50.0,), (0, 1, 2)) for name in "ab")
    outcome = lthrun("report", first, second)
    assert outcome.status == 0 and "\x1b" not in outcome.out and outcome.err == ""
    for folder in (first, second):
        assert f"report: {folder}/report.html" in outcome.out and (folder / "report.html").is_file()
        assert summary_of(folder)["verdict"]["answer"][:40] in outcome.out
    monkeypatch.setattr("lthrun.report.publish.publish", lambda records: records.run_dir / "report.html")
    outcome = lthrun("report", first, "--json")
    assert json.loads(outcome.out)["verdict"] == summary_of(first)["verdict"] and "report.html" in outcome.err
    assert len(json.loads(lthrun("report", first, second, "--json").out)) == 2
    assert lthrun("report", first, "--quiet").out == f"report: {first}/report.html\n"


def test_one_directory_that_is_not_finished_is_refused_in_a_line_and_nothing_is_written(
    lthrun: Callable, tmp_path: Path
):
    good, bad = write_study(tmp_path / "good"), write_study(tmp_path / "bad")
    (bad / "summary.json").unlink()
    outcome = lthrun("report", good, bad)
    assert outcome.status == 2 and outcome.err.count("\n") == 1 and str(bad) in outcome.err
    assert "not finished" in outcome.err and not list(tmp_path.rglob("report.html"))
    assert "nowhere: not a run directory" in lthrun("report", "nowhere").err


def test_without_tensorboard_nothing_is_written(lthrun: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder, find = write_study(tmp_path), importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "tensorboard" else find(name))
    outcome = lthrun("report", folder, "--tensorboard", "events")
    assert outcome.status == 2 and "pip install 'lthrun[tensorboard]'" in outcome.err
    assert not (folder / "report.html").exists()


def test_runs_lists_studies_below_the_runs_and_cleaning_leaves_them(lthrun: Callable, tmp_path: Path):
    folder = write_study(tmp_path / "out", seeds=(0, 1, 2))
    outcome = lthrun("runs", "--out", "out")
    assert outcome.status == 0 and folder.name in outcome.out and "no finished runs" not in outcome.out
    row = next(line for line in outcome.out.splitlines() if folder.name in line)
    assert "dense, ticket, random-mask" in row and f" {summary_of(folder)['verdict']['word']} " in row
    (listed,) = json.loads(lthrun("runs", "--out", "out", "--json").out)
    assert listed["experiment"] == "compare" and listed["run_dir"] == f"out/{folder.name}"
    assert lthrun("runs", "clean", "--out", "out").status == 0


def test_a_run_that_was_trained_has_a_page_and_stays_finished(
    lthrun: Callable, images: Path, tiny_model: None, tmp_path: Path
):
    supermask = ["supermask", "--data-dir", images, "--out", "out", "--steps", 1, *SMALL_SETS]
    assert lthrun(*supermask, "--quiet").status == 0
    folder = next(tmp_path.glob("out/supermask-*"))
    outcome = lthrun("report", folder)
    assert outcome.status == 0 and "better than chance" in outcome.out and "report.html" in outcome.out
    summary, page = summary_of(folder), read_page(folder)
    low, high = summary["accuracy_interval"]
    trained = f"{100 * summary['accuracy']:.1f} ({100 * low:.1f} to {100 * high:.1f})"
    rows = {row[0]: row[1:] for row in page.rows}
    assert f"{trained} %, with 95 % interval, n = 12" in page.text and rows["the trained ticket"][0] == trained
    assert rows["the mask"][0].startswith(f"{100 * summary['supermask']['accuracy']:.1f} (")
    zero, total = summary["levels"][-1]["layers"]["3.weight"]
    assert ["3", str(zero), str(total), f"{100 * zero / total:.2f}"] in page.rows
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for row, record in zip(read_csv(folder / "figures" / "learning-curve.csv"), metrics, strict=True):
        assert float(row["accuracy"]) == record["accuracy"] and float(row["valid_loss"]) == record["valid_loss"]
    assert "already finished" in lthrun(*supermask).out


@pytest.mark.parametrize("arguments", [["--help"], ["report", "--help"], ["runs"], ["list"]])
def test_matplotlib_is_not_imported_where_it_is_not_used(arguments: list[str], tmp_path: Path):
    assert imported(arguments, tmp_path, "matplotlib", "jinja2") == "False False"


def test_a_report_needs_neither_torch_nor_pyplot(tmp_path: Path):
    study = write_study(tmp_path, ("dense", "ticket"), (50.0,))
    assert imported(["report", str(study)], tmp_path, "torch", "matplotlib.pyplot") == "False False"


def imported(arguments: list[str], folder: Path, *modules: str) -> str:
    """Whether the command imports each of the modules."""
    code = f"import sys; sys.argv[1:] = {arguments!r}\nfrom lthrun.cli import main\n"
    code += f"try: main()\nexcept SystemExit: pass\nprint(*(name in sys.modules for name in {modules!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder)
    return done.stdout.splitlines()[-1]
