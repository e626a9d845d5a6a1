"""The page of a study: its numbers, its order, and that nothing in the records can make it load or run anything."""

from __future__ import annotations

import base64
import json
import re
import shutil
from pathlib import Path

import pytest

from tests.report.conftest import minus, published, read_csv, read_page, summary_of
from tests.studies import HOSTILE, write_study


def test_the_tables_of_the_page_are_the_summarys_numbers(ten: Path):
    summary, page = summary_of(ten), read_page(ten)
    for cell in summary["cells"]:
        mean, (low, high) = cell["accuracy"]["mean"], cell["accuracy"]["interval"]
        at = "dense" if cell["sparsity"] is None else f"{cell['sparsity']:.0f} %"
        wanted = [cell["arm"], at, f"{100 * mean:.1f} ({100 * low:.1f} to {100 * high:.1f})", "5"]
        assert wanted in [row[:4] for row in page.rows]
    for row in summary["comparisons"]:
        low, high = row["interval"]
        at = "dense" if row["sparsity"] is None else f"{row['sparsity']:.0f} %"
        difference = minus(f"{row['mean']:+.2f} ({low:+.2f} to {high:+.2f})")
        word = row["word"] or "–"
        assert [row["arm"], at, difference, "5", word] in [shown[:5] for shown in page.rows]
    for row in summary["reach"]:
        assert f"{row['reached']} of {row['total']}" in page.text
    for row in summary["overlap"]:
        assert [f"{100 * row['chance']:.1f}", str(row["pairs"])] in [shown[3:] for shown in page.rows]
    assert ["majority rate", "", f"{100 * summary['majority_rate']:.1f}"] in [row[:3] for row in page.rows]


def test_the_verdict_comes_first_then_figures_tables_and_settings(ten: Path):
    summary, text = summary_of(ten), read_page(ten).text
    verdict = summary["verdict"]
    order = [
        summary["question"], verdict["answer"], verdict["reason"], *verdict["details"], "Figures", "Tables", "Settings and environment",
        "experiment: compare",
    ]  # fmt: skip
    places = [text.index(words, text.index(verdict["word"])) for words in order]
    assert places == sorted(places) and places[1] < 500
    for words in (
        "Primary: accuracy, ticket minus dense at 50 %",
        "95 % interval, n = 5 seeds, 1,478 validation images",
        "exploratory, Holm-corrected",
    ):
        assert words in text


def test_the_page_links_the_numbers_in_the_files_beside_it(ten: Path):
    page = read_page(ten)
    linked = {base64.b64decode(link.split(",")[1]).decode() for link in page.loads if link.startswith("data:text/csv")}
    assert linked == {path.read_text() for path in (ten / "figures").glob("*.csv")} and len(linked) == 6
    drawn = {base64.b64decode(link.split(",")[1]) for link in page.loads if link.startswith("data:image/svg+xml")}
    assert drawn >= {path.read_bytes() for path in (ten / "figures").glob("*.svg")} and len(drawn) == 12
    assert {path.suffix for path in (ten / "figures").iterdir()} == {".svg", ".png", ".csv"}


def test_hostile_names_are_shown_and_do_nothing(hostile: Path):
    html = (hostile / "report.html").read_text()
    page = read_page(hostile)
    assert "script" not in page.tags and "<script" not in html and not re.search(r"\son\w+=", html)
    # In the missing result, a note, the settings that differ, the classes, the configuration, the environment.
    assert page.text.count(HOSTILE) >= 5 and json.dumps(HOSTILE) in page.text
    assert "1 result is missing" in page.text and "random-mask at 90 %, seed 4: <script>" in page.text


def test_characters_that_reverse_or_hide_text_are_escaped(tmp_path: Path):
    folder = write_study(tmp_path, ("dense", "ticket"), (50.0,))
    summary = summary_of(folder) | {"notes": ["a\u202eb", "c\x1b[31md"]}
    (folder / "summary.json").write_text(json.dumps(summary))
    text = read_page(published(folder)).text
    assert r"a\u202eb" in text and r"c\x1b[31md" in text and "\u202e" not in text and "\x1b" not in text


@pytest.mark.parametrize("folder", ["ten", "hostile", "supermask"])
def test_the_page_is_self_contained(folder: str, request: pytest.FixtureRequest, runs: dict[str, Path]):
    path = runs[folder] if folder in runs else request.getfixturevalue(folder)
    html, page = (path / "report.html").read_text(), read_page(path)
    assert page.loads and all(load.startswith("data:") for load in page.loads)
    assert "url(" not in html and "@import" not in html and '<link rel="stylesheet' not in html
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'" in html
    for load in page.loads:
        if load.startswith("data:image/svg+xml"):
            svg = base64.b64decode(load.split(",")[1]).decode()
            links = re.findall(r'(?:href|src)="([^"]*)"|url\(([^)]*)\)', svg)
            assert all((a or b).startswith("#") for a, b in links) and "<script" not in svg


def test_equal_records_give_equal_bytes_in_any_directory(tmp_path: Path):
    folder = published(write_study(tmp_path / "here", ("dense", "ticket"), (50.0,)))
    before = {path.name: path.read_bytes() for path in [folder / "report.html", *(folder / "figures").iterdir()]}
    moved = tmp_path / "there" / folder.name
    shutil.copytree(folder, moved, ignore=shutil.ignore_patterns("report.html", "figures"))
    published(moved)
    assert before == {path.name: path.read_bytes() for path in [moved / "report.html", *(moved / "figures").iterdir()]}
    assert len(before) == 19


def test_too_few_seeds_have_no_interval_and_the_page_says_so(tmp_path: Path):
    folder = published(write_study(tmp_path, ("dense", "ticket"), (50.0,), seeds=(0, 1)))
    text = read_page(folder).text
    assert "no verdict" in text and "(no interval)" in text and "None" not in text and "nan" not in text
    assert all(row["low"] == "" for row in read_csv(folder / "figures" / "differences.csv"))


def test_a_comparison_without_a_primary_question_has_a_page(tmp_path: Path):
    folder = write_study(tmp_path, ("dense", "ticket", "prune"), (50.0,))
    summary = summary_of(folder)
    summary["comparisons"] = [row for row in summary["comparisons"] if not row["is_primary"]]
    for row, rival in zip(summary["comparisons"], ("dense", "majority rate", "dense", "random-mask"), strict=False):
        row["against"] = rival
    summary |= {
        "verdict": {
            "word": None,
            "winning_ticket": None,
            "warnings": [],
            "answer": "No verdict.",
            "reason": "No results.",
            "details": [],
        },
        "overlap": [],
        "layers": [],
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    page = read_page(published(folder))
    assert "No verdict." in page.text and "ticket − majority rate" in page.text
    assert "mask has in common with others" not in page.text
