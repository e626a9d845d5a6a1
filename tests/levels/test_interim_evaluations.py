"""Evaluations within an epoch: they see the model of their step, and change nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lthrun.models import build_model
from lthrun.training.engine import Engine
from tests.conftest import prepare_levels, read_lines, run, same_tensors, train

pytestmark = pytest.mark.usefixtures("tiny_module")


def test_interim_evaluations_see_the_model_of_their_step_and_change_nothing(small: Callable, tmp_path: Path):
    config = small("ticket", **{"training.evaluate_every": 4, "training.evaluate_images": 7, "pruning.steps": 1})
    planned, builder = prepare_levels(config, tmp_path / "a")
    records = train(builder, planned.levels)
    plain, plain_builder = prepare_levels(small("ticket", **{"pruning.steps": 1}), tmp_path / "b")
    plain_records = train(plain_builder, plain.levels)
    for level, record, other, without in zip(planned.levels, records, plain.levels, plain_records, strict=True):
        assert level.key != other.key
        assert same_tensors(builder.states.end(level)[0], plain_builder.states.end(other)[0])
        assert [epoch.valid_loss for epoch in record.epochs] == [epoch.valid_loss for epoch in without.epochs]
        assert [epoch.interim_evaluations for epoch in without.epochs] == [[], []]
    steps = builder.batches.epoch_steps
    found = [[interim for epoch in record.epochs for interim in epoch.interim_evaluations] for record in records]
    assert [interim.step for interim in found[1]] == list(range(4, 2 * steps + 1, 4))
    engine = Engine(build_model("resnet18", 2, 0), config.training, torch.device("cpu"), "float32", {})
    images, labels = (torch.cat(parts) for parts in zip(*builder.batches.validation_batches(), strict=True))
    chosen = [k * len(labels) // 7 for k in range(7)]
    for step in range(8):
        engine.model.train()
        engine.step(builder.batches.training_batch(step))
    (interim,) = [interim for interim in found[0] if interim.step == 8]
    evaluation = engine.evaluate([(images[chosen], labels[chosen])], 2)
    assert interim.loss == pytest.approx(evaluation.loss, rel=1e-5)
    assert interim.accuracy == sum(evaluation.correct) / 7


def test_interim_evaluations_are_in_the_metrics(small: Callable, tmp_path: Path):
    result = run(small("baseline", **{"training.evaluate_every": 2}), tmp_path)
    steps = [[interim["step"] for interim in line["interim_evaluations"]] for line in result.metrics]
    assert steps == [[2, 4, 6], [8, 10, 12]]
    assert read_lines(result.run_dir / "metrics.jsonl") == result.metrics
