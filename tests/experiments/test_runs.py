"""Runs: levels that are shared, reused and retrained always end in the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import lthrun
from lthrun.events import AlreadyFinished, Event, LevelReused, Step, ignore
from lthrun.levels.context import prepare
from lthrun.storage.json_files import read_json, write_json
from tests.conftest import assert_same, read_events, run, select, timeless

pytestmark = pytest.mark.usefixtures("tiny_model")


def test_levels_are_trained_once_and_the_numbers_stay_the_same(small: Callable, tmp_path: Path):
    apart = {name: run(small(name), tmp_path / name) for name in ("baseline", "ticket", "supermask")}
    shared = {name: run(small(name), tmp_path / "shared") for name in apart}
    assert [len(read_events(shared[name].run_dir, "level_reused")) for name in apart] == [0, 1, 4]
    assert len(list((tmp_path / "shared" / "levels").glob("*/level.json"))) == 4
    for name in apart:
        assert_same(shared[name], apart[name])
        assert shared[name].run_dir.name == apart[name].run_dir.name
        one, other = (
            r.summary.model_dump(exclude={"seconds", "run_dir", "levels"}) for r in (shared[name], apart[name])
        )
        assert one == other


def test_a_finished_run_reports_again_and_fresh_retrains(small: Callable, tmp_path: Path):
    events: list[Event] = []
    first = run(small("baseline"), tmp_path)
    again = run(small("baseline"), tmp_path, events.append)
    assert select(events, AlreadyFinished) and not select(events, Step)
    assert again.summary == first.summary and again.metrics == first.metrics
    events.clear()
    fresh = run(small("baseline"), tmp_path, events.append, fresh=True)
    assert select(events, Step) and not select(events, LevelReused)
    assert timeless(fresh) == timeless(first) and fresh.metrics != first.metrics
    assert [p.name for p in (tmp_path / "levels").iterdir() if p.is_dir()] == [first.summary.levels[0].key]


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(small: Callable, tmp_path: Path):
    first, second = (run(small("baseline"), tmp_path / name) for name in "ab")
    other = run(small("baseline", seed=1), tmp_path / "c")
    assert timeless(first) == timeless(second) != timeless(other)


def test_the_config_of_a_run_means_the_same_run(small: Callable, tmp_path: Path):
    result = run(small("ticket"), tmp_path)
    again = lthrun.run(lthrun.load_config(result.run_dir / "config.yaml"), tmp_path, emit=ignore)
    assert again.run_dir == result.run_dir and again.summary == result.summary


def test_each_step_between_levels_is_an_event(small: Callable, tmp_path: Path):
    run_dir = run(small("ticket"), tmp_path).run_dir
    kinds = ("run_started", "state_saved", "pruned", "rewound", "run_finished")
    assert [len(read_events(run_dir, kind)) for kind in kinds] == [1, 1, 3, 3, 1]


def test_majority_rate_is_that_of_the_validation_images(small: Callable, tmp_path: Path):
    context = prepare(small("baseline"), ignore)
    labels = [context.store.labels[i] for i in context.split.valid]
    summary = run(small("baseline"), tmp_path).summary
    assert summary.majority_rate == max(labels.count(0), labels.count(1)) / len(labels)
    assert (summary.n_train, summary.n_valid) == (48, 12)


def test_a_level_of_another_environment_is_reused_and_named(small: Callable, tmp_path: Path):
    first = run(small("baseline"), tmp_path)
    path = tmp_path / "levels" / first.summary.levels[0].key / "level.json"
    record = read_json(path)
    assert record is not None and record["environment"]["threads"] == 1
    write_json(path, record | {"environment": record["environment"] | {"torch": "1.0.0"}})
    (event,) = read_events(run(small("ticket"), tmp_path).run_dir, "level_reused")
    assert event["differences"] == [f"torch 1.0.0 (here {torch.__version__})"]
