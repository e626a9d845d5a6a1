"""The report of a run: what every run has, and what supermasks and connectivity runs add."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lthrun.experiments.reading import AnySummary
from lthrun.report.connectivity_part import stability
from lthrun.report.records import read_records
from lthrun.report.study_report import build_report
from tests.report.conftest import read_csv, read_page, summary_of
from tests.studies import write_run


def summary_with(folder: Path, **changes: object) -> AnySummary:
    (folder / "summary.json").write_text(json.dumps({**summary_of(folder), **changes}))
    return read_records(folder).summary


def test_a_run_has_a_page_with_its_numbers(runs: dict[str, Path]):
    folder = runs["ticket"]
    summary, page = summary_of(folder), read_page(folder)
    for level in summary["levels"]:
        low, high = level["accuracy_interval"]
        accuracy = f"{100 * level['accuracy']:.1f} ({100 * low:.1f} to {100 * high:.1f})"
        row = [str(level["level"]), f"{level['sparsity']:.2f}", accuracy]
        assert row in [shown[:3] for shown in page.rows]
    zero, total = summary["levels"][-1]["layers"]["conv1.weight"]
    assert ["conv1", f"{zero:,}", f"{total:,}", f"{100 * zero / total:.2f}"] in page.rows
    assert ["all", "313,344", "626,688", "50.00"] in page.rows
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for row, record in zip(read_csv(folder / "figures" / "learning-curve.csv"), metrics, strict=True):
        assert float(row["accuracy"]) == record["accuracy"] and float(row["valid_loss"]) == record["valid_loss"]


@pytest.mark.parametrize(
    ("interval", "word", "tone"),
    [
        ((0.70, 0.75), "above the majority rate", "good"),
        ((0.60, 0.65), "below the majority rate", "open"),
        ((0.66, 0.70), "not distinguishable from the majority rate", "open"),
    ],
)
def test_a_run_is_compared_with_the_majority_rate_by_its_whole_interval(
    interval: tuple[float, float], word: str, tone: str, tmp_path: Path
):
    answer = build_report(summary_with(write_run(tmp_path), accuracy_interval=interval)).answer
    assert (answer.word, answer.tone) == (word, tone) and f"{word} of 67.8 %" in answer.sentences[0]


def test_a_supermask_is_beside_what_it_has_to_beat(runs: dict[str, Path]):
    summary, page = summary_of(runs["supermask"])["supermask"], read_page(runs["supermask"])
    rows = {row[0]: row[1:] for row in page.rows}
    assert rows["the mask"][0] == "69.0 (66.6 to 71.4)" and rows["no mask (dense)"][0].startswith("52.0 (")
    assert rows["20 random masks"] == ["58.0 (41.0 to 66.0)", "50.0 (47.0 to 54.0)"]
    assert "its mask at 16.67 %" in rows and "its mask at 50.00 %" not in rows, "the last level's is the mask itself"
    assert rows["the trained ticket"][0].startswith("74.8 (") and summary["better_than_chance"]
    assert "The supermask is better than chance" in page.text


@pytest.mark.parametrize(
    ("balanced", "reason"),
    [((0.55, 0.6), "not above all random masks"), ((0.45, 0.6), "not above 50 % with its whole interval")],
)
def test_why_a_supermask_is_not_better_than_chance(balanced: tuple[float, float], reason: str, tmp_path: Path):
    folder = write_run(tmp_path, "supermask", better_than_chance=False, balanced_accuracy_interval=balanced)
    answer = build_report(read_records(folder).summary).answer
    assert answer.word == "not shown to be better than chance" and answer.tone == "open"
    assert reason in answer.sentences[0]


@pytest.mark.parametrize(("unchanged", "words"), [(True, "bit-identical to initialization"), (False, "CHANGED")])
def test_a_learned_mask_says_whether_its_weights_stayed_and_has_no_trained_ticket(
    unchanged: bool, words: str, tmp_path: Path
):
    folder = write_run(tmp_path, "supermask", method="edge-popup", levels=[], weights_unchanged=unchanged)
    report = build_report(read_records(folder).summary)
    facts = {fact.name: fact for fact in report.facts}
    assert words in facts["Weights"].value and facts["Weights"].tone == ("good" if unchanged else "bad")
    assert not any("ticket" in name for name in facts)


def test_a_connectivity_run_answers_for_each_rewind_point(runs: dict[str, Path]):
    summary = read_records(runs["connectivity"]).summary
    answer = build_report(summary).answer
    assert answer.word == "stable from 2ep" and answer.tone == "good"
    assert answer.sentences[0] == "The ticket is unstable from 0ep; undecided from 1ep; stable from 2ep."
    page = read_page(runs["connectivity"])
    assert ["0ep", "dense", "0.00", "75.0, 75.0", "14.0 (12.8 to 15.2)", "unstable"] in page.rows
    assert ["1ep", "ticket", "50.00", "75.0, 75.0", "1.5 (0.3 to 2.7)", "undecided"] in page.rows


def test_stability_is_decided_by_the_whole_interval(runs: dict[str, Path]):
    path = read_records(runs["connectivity"]).summary.connectivity[0]  # type: ignore[union-attr]
    intervals = {(0.0, 0.019): "stable", (0.0, 0.02): "undecided", (0.02, 0.1): "unstable"}
    for interval, word in intervals.items():
        assert stability(path.model_copy(update={"interval": interval})) == word


def test_the_title_names_what_differs_from_the_defaults(tmp_path: Path):
    differs = {"training.epochs": 3, "rewind.to": "1ep", "pruning.protocol": "fasterai", "pruning.steps": 5}
    report = build_report(summary_with(write_run(tmp_path), differs=differs))
    assert report.title == "ticket 1ep fasterai steps=5"


def test_frozen_weights_are_named_in_the_sparsity(tmp_path: Path):
    report = build_report(summary_with(write_run(tmp_path), differs={"rewind.pruned": "frozen"}))
    assert "held at their initial values" in {fact.name: fact.value for fact in report.facts}["Sparsity"]
