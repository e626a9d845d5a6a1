"""Gradual pruning within one training: its schedule, regrowth, and what its criteria see."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lthrun.experiments import Result
from lthrun.sparsity.criteria import CRITERIA, CriterionEntry
from lthrun.sparsity.masks import Tensors
from lthrun.sparsity.measured_criteria import ScoringContext, taylor
from lthrun.storage.tensor_files import read_tensors
from tests.conftest import read_events, run

pytestmark = pytest.mark.usefixtures("tiny_module")
NAMES = ["0.weight", "3.weight"]
DSD = {"pruning.schedule": "dsd", "pruning.steps": 4, "pruning.begin": 0, "pruning.end": 60}


def gradual(small: Callable, out: Path, **settings: Any) -> tuple[Result, list[dict[str, Any]]]:
    """A run of five epochs, and its pruning steps."""
    result = run(small("prune", **{"training.epochs": 5, **settings}), out)
    return result, read_events(result.run_dir, "pruned")


def test_gradual_pruning_follows_its_schedule_between_begin_and_end(small: Callable, tmp_path: Path):
    """30 steps; four prunings from 20 to 80 %: before steps 6, 12, 18, 24."""
    result, prunings = gradual(small, tmp_path, **{"pruning.steps": 4, "pruning.sparsity": 80})
    expected = [80 - 80 * (1 - k / 4) ** 3 for k in range(1, 5)]
    assert [event["target"] for event in prunings] == pytest.approx(expected)
    counts = [sum(round(s / 100 * n) for n in (108, 288)) / 396 * 100 for s in expected]
    assert [record["sparsity"] for record in result.metrics] == pytest.approx([0, *counts])
    assert len(result.summary.levels) == 1


def test_dense_sparse_dense_regrows_and_ends_dense(small: Callable, tmp_path: Path):
    result, prunings = gradual(small, tmp_path, **DSD)
    assert [event["sparsity"] for event in prunings] == pytest.approx([25, 50, 25, 0], abs=0.3)
    assert [event["is_regrown"] for event in prunings] == [False, False, True, True]
    assert result.summary.sparsity == 0
    weights = read_tensors(result.run_dir / "model.safetensors")[0]
    assert all(weights[name].all() for name in NAMES), "what came back is trained again"


def test_regrown_filters_are_trained_again(small: Callable, tmp_path: Path):
    result, _ = gradual(small, tmp_path, **DSD, **{"pruning.granularity": "filter"})
    weights = read_tensors(result.run_dir / "model.safetensors")[0]
    assert all(weights[f"{norm}.weight"].all() for norm in (1, 4)), "γ"
    assert all(weights[name].flatten(1).any(1).all() for name in NAMES)


@pytest.mark.parametrize(
    "settings",
    [
        {"pruning.begin": 99.5, "pruning.end": 99.5},
        {"pruning.end": 99, "pruning.schedule": "linear"},
        {"training.batch_size": 40},
    ],
)
def test_no_pruning_falls_beyond_the_end_of_the_training(small: Callable, tmp_path: Path, settings: dict[str, Any]):
    result, _ = gradual(small, tmp_path, **{"training.epochs": 1, "pruning.steps": 2, **settings})
    assert result.summary.sparsity == 50


def test_criteria_that_are_measured_on_images_see_the_pruned_network(
    small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen = []

    def record(context: ScoringContext) -> Tensors:
        seen.append([int((context.trained[n][~context.masks[n]] != 0).sum()) for n in context.masks])
        return taylor(context)

    monkeypatch.setitem(CRITERIA, "taylor", CriterionEntry(record, "", measured=True))
    gradual(small, tmp_path, **{"pruning.criterion": "taylor", "pruning.steps": 3, "pruning.batches": 2})
    assert seen == [[], [0, 0], [0, 0]]


def test_targets_are_reached_at_the_highest_sparsity_of_a_schedule_that_falls(small: Callable, tmp_path: Path):
    settings = {"pruning.schedule": "custom", "pruning.sparsities": [80, 20], "pruning.targets": {"3": 40}}
    result, _ = gradual(small, tmp_path, **settings)
    assert result.summary.levels[0].layers == {
        "0.weight": (round(0.2 * 108), 108),
        "3.weight": (round(0.1 * 288), 288),
    }
