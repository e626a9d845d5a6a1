"""Reading run directories back, and TensorBoard's event files."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import pytest

from lthrun.errors import UserError
from lthrun.experiments.connectivity import ConnectivitySummary
from lthrun.experiments.reading import list_finished
from lthrun.experiments.summaries import RunSummary, StudySummary
from lthrun.experiments.supermask import SupermaskSummary
from lthrun.report.records import read_records
from lthrun.report.tensorboard import check_tensorboard, write_events
from lthrun.storage.files import FORMAT
from tests.report.conftest import summary_of
from tests.studies import write_run, write_study

TYPES = {
    "baseline": RunSummary, "ticket": RunSummary, "prune": RunSummary, "supermask": SupermaskSummary,
    "connectivity": ConnectivitySummary,
}  # fmt: skip


def test_each_experiment_is_read_back_as_its_type_of_summary(runs: dict[str, Path], ten: Path):
    assert {name: type(read_records(folder).summary) for name, folder in runs.items()} == TYPES
    records = read_records(ten)
    assert type(records.summary) is StudySummary and records.summary.lines == len(records.metrics)
    assert records.config.startswith("experiment: compare") and records.environment["torch"] == "2.14.0"


def test_the_directory_is_where_the_records_are_now(tmp_path: Path):
    folder = write_run(tmp_path / "before")
    folder.rename(tmp_path / folder.name)
    assert read_records(tmp_path / folder.name).summary.run_dir == str(tmp_path / folder.name)


def damage(folder: Path, how: str) -> None:
    summary = summary_of(folder)
    if how == "unfinished":
        (folder / "summary.json").unlink()
    elif how == "half a summary":
        (folder / "summary.json").write_text(json.dumps(summary)[:500])
    elif how == "a key is missing":
        (folder / "summary.json").write_text(json.dumps({**summary, "cells": None}))
    elif how == "another format":
        (folder / "summary.json").write_text(json.dumps({**summary, "format": 99}))
    elif how == "no numbers":
        (folder / "metrics.jsonl").write_text('{"arm": ')
    else:
        (folder / "config.yaml").unlink()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("unfinished", "not finished, there is no valid summary.json in it"),
        ("half a summary", "not finished, there is no valid summary.json in it"),
        ("a key is missing", "not finished, there is no valid summary.json in it"),
        ("another format", f"written in format 99; this lthrun reads format {FORMAT}: use the version that"),
        ("no numbers", "metrics.jsonl: missing or damaged"),
        ("no run", "not a run directory (no config.yaml in it)"),
    ],
)
def test_what_is_not_a_finished_run_is_refused_in_a_line_that_says_what_to_do(how: str, message: str, tmp_path: Path):
    folder = write_study(tmp_path)
    damage(folder, how)
    with pytest.raises(UserError) as refused:
        read_records(folder)
    assert message in str(refused.value) and str(folder) in str(refused.value) and "\n" not in str(refused.value)


def test_finished_runs_are_listed_oldest_first_without_those_of_other_formats(tmp_path: Path):
    names = []
    for k, experiment in enumerate(("ticket", "baseline", "supermask")):
        folder = write_run(tmp_path, experiment)
        os.utime(folder / "summary.json", (1000 - k, 1000 - k))
        names.append(experiment)
    damage(write_study(tmp_path), "another format")
    finished = list_finished(tmp_path)
    assert [summary.experiment for _, summary in finished] == names[::-1] and finished[0][0] == 998
    damage(tmp_path / "ticket-s0-0123abcd", "half a summary")
    assert len(list_finished(tmp_path)) == 2


def test_tensorboard_reads_back_what_the_run_recorded(tmp_path: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run, study = write_run(tmp_path), write_study(tmp_path / "study", ("dense", "ticket"), (50.0,), (0,))
    for folder in 2 * [run, study]:  # what was written before is replaced, not doubled
        write_events(read_records(folder), tmp_path / "events")
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    events = EventAccumulator(str(tmp_path / "events" / run.name / "level-1")).Reload()
    found = [(event.step, event.value) for event in events.Scalars("accuracy/accuracy")]
    assert found == [(line["epoch"], pytest.approx(line["accuracy"])) for line in metrics if line["level"] == 1]
    assert [event.value for event in events.Scalars("sparsity")] == 5 * [pytest.approx(50 / 3)]
    events = EventAccumulator(str(tmp_path / "events" / study.name / "ticket-50-s0")).Reload()
    assert [event.step for event in events.Scalars("loss/train")] == [92, 184, 276, 368, 460]


def test_without_tensorboard_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'lthrun\[tensorboard\]'"):
        check_tensorboard()


def test_records_cannot_lead_the_event_files_out_of_their_folder(tmp_path: Path):
    folder = write_study(tmp_path / "study", seeds=(0,))
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    (folder / "metrics.jsonl").write_text("".join(json.dumps({**line, "arm": "../../up"}) + "\n" for line in lines))
    before = set(tmp_path.iterdir())
    write_events(read_records(folder), tmp_path / "a/b/events")
    assert set(tmp_path.iterdir()) - before == {tmp_path / "a"} and not (tmp_path / "a" / "up").exists()
    written = {path.parent for path in tmp_path.rglob("events.out*")}
    assert written <= set((tmp_path / "a/b/events" / folder.name).iterdir())
