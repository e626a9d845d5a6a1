"""Test images: evaluated once a level is trained, and seen by nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lthrun.events import ignore
from lthrun.experiments import load_config
from lthrun.levels.builder import LevelBuilder
from lthrun.levels.context import prepare
from lthrun.levels.plan import plan_control
from lthrun.models import build_model
from lthrun.storage.level_store import LevelStore
from lthrun.storage.tensor_files import read_tensors
from lthrun.training.engine import Engine
from tests.conftest import LAYOUT, SMALL, interrupt, prepare_levels, run, same_tensors, train
from tests.data.samples import CLASSES, save_noise, write_sides

pytestmark = pytest.mark.usefixtures("tiny_model")
# At this rate the validation loss is lowest after step 8 of 15.
RESTLESS = {"data.test": 30.0, "training.evaluate_every": 2, "training.epochs": 5, "training.learning_rate": 0.02}


@pytest.mark.parametrize("experiment", ["baseline", "ticket"])
def test_the_test_accuracy_is_that_of_the_written_model(small: Callable, tmp_path: Path, experiment: str):
    config = small(experiment, **{"data.test": 30.0})
    result = run(config, tmp_path)
    batches = LevelBuilder(prepare(config, ignore), LevelStore(tmp_path), ignore).batches
    model: nn.Module = build_model("resnet18", 2, 0).to(memory_format=LAYOUT)
    model.load_state_dict(read_tensors(result.run_dir / "model.safetensors")[0])
    with torch.no_grad():
        right = sum(
            int((model.eval()(images.contiguous(memory_format=LAYOUT)).argmax(1) == labels).sum())
            for images, labels in batches.test_batches()
        )
    assert batches.n_test == 18 and result.summary.test is not None
    assert result.summary.test.accuracy == pytest.approx(right / 18) == result.metrics[-1]["test_accuracy"]
    assert result.summary.early_stop_test is None, "without interim evaluations there is no early stopping"
    assert [level.test is None for level in result.summary.levels] == [False] * len(result.summary.levels)
    assert sum("test_accuracy" in line for line in result.metrics) == len(result.summary.levels)
    (result.run_dir / "summary.json").unlink()
    assert run(config, tmp_path).metrics == result.metrics, "from cached levels"


def test_the_network_of_lowest_validation_loss_is_tested_too(small: Callable, tmp_path: Path):
    config = small("baseline", **RESTLESS)
    planned, builder = prepare_levels(config, tmp_path)
    (record,) = train(builder, planned.levels)
    interim = [evaluation for epoch in record.epochs for evaluation in epoch.interim_evaluations]
    lowest = min(interim, key=lambda evaluation: evaluation.loss)
    assert record.test is not None and record.test.early_stop is not None
    assert record.test.early_stop.step == lowest.step < record.test.last.step == record.epochs[-1].step
    engine = Engine(build_model("resnet18", 2, 0), config.training, torch.device("cpu"), "float32", {})
    for step in range(record.epochs[-1].step):
        if step == lowest.step:
            early = engine.evaluate(builder.batches.test_batches(), 2)
        engine.model.train()
        engine.step(builder.batches.training_batch(step))
    last = engine.evaluate(builder.batches.test_batches(), 2)
    for own, found in ((early, record.test.early_stop), (last, record.test.last)):
        assert (own.loss, own.correct) == (found.loss, found.correct)
        assert found.accuracy == sum(own.correct) / builder.batches.n_test
    assert early.loss != last.loss


@pytest.mark.parametrize(("every", "at"), [("1it", 11), ("1ep", 14)])
def test_a_level_that_was_interrupted_has_the_same_test(small: Callable, tmp_path: Path, every: str, at: int):
    config = small("baseline", **RESTLESS)
    run(config, tmp_path / "whole")
    interrupt(config, tmp_path / "rest", at, checkpoint_every=every)
    run(config, tmp_path / "rest")
    whole, rest = (json.loads(path.read_text())["test"] for path in sorted(tmp_path.glob("*/levels/*/level.json")))
    assert whole == rest and whole["early_stop"]["step"] == 8, "the interrupt came after the lowest loss"


def test_other_test_images_change_the_test_and_nothing_else(tmp_path: Path):
    """Training, a mask by a criterion that reads images, recalibration, normalization and early stopping."""
    settings: dict[str, Any] = {
        "data.dataset": "folder", "data.normalize": "dataset", "data.augmentation": ["flip"], "pruning.steps": 1,
        "pruning.criterion": "taylor", "training.evaluate_every": 2,
    }  # fmt: skip
    found, tests = [], []
    for number in range(2):
        root = write_sides(tmp_path / f"set{number}", train=20, test=5)
        for c, name in enumerate(CLASSES if number else ()):
            for i in range(5):
                save_noise(root / "test" / name / f"{i:03}.png", 18, 18, [9, c, i])
        planned, builder = prepare_levels(
            load_config(None, "ticket", options={**SMALL, **settings, "data.dir": str(root)}), tmp_path / str(number)
        )
        untrained = plan_control(planned.levels[-1], "untrained", planned.config, planned.context.conditions)
        levels = [*planned.levels, untrained]
        records = train(builder, levels)
        tests.append([record.test for record in records])
        epochs = [epoch for record in records for epoch in record.epochs]
        numbers = [(e.train_loss, e.valid_loss, e.correct, e.sparsity, e.interim_evaluations) for e in epochs]
        early = [test.early_stop and test.early_stop.step for test in tests[-1]]
        found.append((numbers, early, [builder.states.end(level) for level in levels]))
    (numbers, early, ends), (other_numbers, other_early, other_ends) = found
    assert numbers == other_numbers and early == other_early and early[-1] is None and None not in early[:-1]
    for one, other in zip(ends, other_ends, strict=True):
        assert all(same_tensors(a, b) for a, b in zip(one, other, strict=True))
    assert all(one.last.loss != other.last.loss for one, other in zip(*tests, strict=True)), (
        "other images, another test"
    )


def test_without_test_images_there_is_no_test_accuracy(small: Callable, tmp_path: Path):
    result = run(small("baseline", **{"training.evaluate_every": 2}), tmp_path)
    assert result.summary.test is None and result.summary.early_stop_test is None
    assert not any("test_accuracy" in line for line in result.metrics)


def test_only_levels_with_test_images_have_another_key(small: Callable):
    plain, held_out = (prepare(small("baseline", **{"data.test": share}), ignore).conditions for share in (0.0, 10.0))
    assert set(plain.data) == {"images", "split"} and set(held_out.data) == {"images", "split", "test"}


def test_a_share_of_no_test_image_is_refused(lthrun: Callable):
    outcome = lthrun("baseline", "--config", "smoke/baseline", "--set", "data.test=0.01")
    assert (
        outcome.status == 2 and "data.test: found 0.01; that percentage of 1,200 images is not one image" in outcome.err
    )
