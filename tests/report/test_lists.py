"""Tables of many things: runs, studies, sweeps, names, schedules, images, benchmarks."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lthrun.analysis.power import foresee_words
from lthrun.experiments.reading import list_finished
from lthrun.report import bench_tables, lists
from lthrun.report.lists import name_lines, schedule_chart, schedule_table
from lthrun.report.records import read_records
from lthrun.report.tables import Table
from lthrun.report.terminal import show_tables
from tests.report.conftest import make_console, shown
from tests.studies import write_run, write_study


def text_of(*tables: Table, width: int = 120) -> str:
    console = make_console(width)
    show_tables(console, tables)
    return shown(console)


def test_runs_and_studies_are_listed_with_their_results(tmp_path: Path):
    write_run(tmp_path, "ticket"), write_run(tmp_path, "supermask"), write_study(tmp_path, seeds=(0, 1, 2))
    finished = list_finished(tmp_path)
    runs, studies = lists.runs_table(finished, "out"), lists.studies_table(finished, "out")
    assert sorted(row[4] for row in runs.rows) == ["69.0 (66.6 to 71.4)", "74.8 (72.6 to 77.0)"], "a mask's is its own"
    (study,) = studies.rows
    assert study[1:4] == ["compare", "3", "dense, ticket, random-mask"] and study[5] == "compare-s0-0123abcd"
    text = text_of(runs, studies)
    assert "Runs in out" in text and "Majority rate: 67.8 %" in text and "Studies in out" in text
    assert max(map(len, text_of(runs, studies, width=80).splitlines())) <= 80


def test_a_sweep_has_a_row_per_run_under_the_shortest_names_of_its_keys(runs: dict[str, Path]):
    summary = read_records(runs["ticket"]).summary
    points = [{"pruning.sparsity": s, "pruning.criterion": "random", "training.schedule": "cosine", "pruning.schedule": "one"} for s in (50, 80)]  # fmt: skip
    table = lists.sweep_table([(point, summary) for point in points])  # type: ignore[misc]
    headings = [column.heading for column in table.for_medium("terminal").columns]
    assert headings[:4] == ["sparsity", "criterion", "training.schedule", "pruning.schedule"]
    assert [row[:2] for row in table.rows] == [["50", "random"], ["80", "random"]]
    text = text_of(table, width=80)
    assert max(map(len, text.splitlines())) <= 80 and "majority rate" in text.lower()


def test_chances_are_in_percent():
    chances = foresee_words([5, 10], 10, [1.3], 1.0)
    dry_run: Any = SimpleNamespace(chances=chances)
    rows = lists.chance_table(dry_run).rows
    assert [row[:2] for row in rows] == [["1.3", "0"], ["1.3", "0.5"], ["1.3", "1"], ["1.3", "2"]]
    assert all(sum(map(int, row[2:6])) in range(98, 103) and 5 <= float(row[6]) <= 10 for row in rows)


def test_leftovers_have_a_total():
    table = lists.leftovers_table([("abcd", "no run needs it", 5_000_000), ("efgh", "unfinished", 2_500_000)], "out")
    assert table.footer == ["all", "", "8 MB"] and "Needed by no kept run, in out/levels" in text_of(table)


def test_images_are_counted_per_class_and_files_of_note_are_named():
    facts: dict[str, Any] = {
        "images": 30, "classes": {"cat": 10, "[dog]": 20}, "train": {"cat": 8, "[dog]": 16},
        "valid": {"cat": 2, "[dog]": 4}, "n_train": 24, "n_valid": 6, "n_test": 0, "own_sides": ["test"], "majority_rate": 4 / 6,
        "duplicates": [["a", "b"], ["c", "d", "e"]], "unreadable": {"x\x1b.jpg": "truncated"}, "image_size": 64,
        "store": "/cache/store", "bytes": 2_000_000, "near_duplicates": [("cat/a.jpg", "cat/b.jpg")],
        "white": {"16-bit gray": 4095}, "channels": 1, "skipped": {"not an image": 2},
    }  # fmt: skip
    text = text_of(lists.image_table(facts))
    assert " ".join(text.split()).count("[dog] 20 16 4") == 1 and "66.7 %" in text
    assert "nearly the same on two sides of the split: 1 pair" in text and "cat/a.jpg and cat/b.jpg" in text
    assert "16-bit gray: scaled to 8 bits, 4,095 is white" in text and "all images are gray" in text
    assert "skipped: 2 files, not an image" in text
    assert "byte-identical: 5 files in 2 groups, each kept on one side of the split" in text
    assert r"x\x1b.jpg: truncated" in text and "2 MB at 64 px in /cache/store" in text
    assert "–" in text_of(lists.image_table({**facts, "n_valid": 0, "majority_rate": None}))


@pytest.mark.parametrize("width", [40, 80, 200])
def test_names_are_never_broken_and_lines_never_too_wide(width: int):
    names = {"large_final": "Keep the weights that are largest after training. " * 3, "a" * 30: "Long."}
    lines = "\n".join(name_lines("criteria", "pruning.criterion", names, width)).splitlines()
    assert "criteria (pruning.criterion)" in lines
    assert all(any(name in line for line in lines) for name in names)
    assert all(len(line) <= width for line in lines)
    assert " ".join(" ".join(lines).split()).count("Keep the weights that are largest after training.") == 3


def test_a_schedule_is_drawn_and_its_steps_listed():
    lines = list(schedule_chart("linear", [k / 2 for k in range(101)], [25.0, 50.0], 80))
    assert len(lines) == 13 and max(map(len, lines)) <= 80
    filled = [line.count("█") for line in lines[1:11]]
    assert filled == sorted(filled) and filled[0] < 10 and filled[-1] > 40
    assert schedule_table([25.0, 50.0]).rows == [["1", "25.00", "25.00"], ["2", "50.00", "33.33"]]
    assert schedule_table([50.0, 25.0]).rows[1] == ["2", "25.00", "regrows"]


def test_the_benchmark_has_its_floor_its_range_and_what_was_skipped():
    times = {"median": 53.2, "lowest": 52.9, "highest": 55.0}
    row = {
        "name": "lthrun", "precision": "float32", "skipped": None, "train": times, "validation": times,
        "x_floor": {"train": 1.1, "validation": 1.0}, "images_per_second": 1234.5, "x_lthrun": 1.0,
    }  # fmt: skip
    facts = {
        "model": "resnet18", "image_size": 64, "device": "cpu", "precision": "float32", "steps": 12, "epoch_steps": 92,
        "rounds": 5, "batch_size": 64, "n_valid": 1478, "processor": "a CPU", "fastest_precision": "float32",
        "epochs": {"float32": 106.4, "bfloat16": 99.0}, "environment": {"cores": 2, "threads": 1, "torch": "2.14"},
        "implementations": [row, {"name": "fasterai", "precision": "float32", "skipped": "not installed"}],
    }  # fmt: skip
    text = " ".join(text_of(*bench_tables.bench_tables(facts), width=200).split())
    assert "lthrun float32 53.2 (52.9–55.0) 1.10 53.2 (52.9–55.0) 1.00 1,234 1.00" in text
    assert "fasterai, float32, skipped: not installed." in text and "12 of the 92 steps of an epoch" in text
    assert "Fastest on this machine: precision: float32" in text and "bfloat16: 99.0 s" in text
    profile = {
        "step_ms": 10.0, "engine_step_ms": 9.5, "device_busy_ms": 4.0, "model": "resnet18", "device": "cpu",
        "precision": "float32", "steps": 12, "parts": [{"part": "forward", "ms": 4.0}],
        "operators": [{"operator": "conv", "calls": 20, "ms": 3.0, "percent": 30.0}],
    }  # fmt: skip
    text = " ".join(text_of(*bench_tables.profile_tables(profile)).split())
    assert "forward 4.000 40.0" in text and "all 10.000 100.0" in text and "computes 4.000 ms" in text


def test_seconds_have_three_significant_digits():
    assert [bench_tables.seconds(s) for s in (112.4, 53.21, 5.678, 0.2512)] == ["112", "53.2", "5.68", "0.251"]
