"""Supermasks of a tiny model: a mask evaluated on untrained weights, with each treatment of batch norm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import lthrun
from lthrun.events import Evaluated
from lthrun.models import build_model
from lthrun.storage.tensor_files import read_tensors
from tests.conftest import interrupt, read_lines, run
from tests.experiments.levels import make_builder

BY_SIGN = {"supermask.batch_norm": "initial", "supermask.weights": "sign_constant"}
pytestmark = pytest.mark.usefixtures("tiny_model")


def test_a_supermask_is_the_mask_on_untrained_weights(small: Callable, tmp_path: Path):
    results = {
        batch_norm: run(small("supermask", **{"supermask.batch_norm": batch_norm}), tmp_path)
        for batch_norm in ("recalibrate", "initial", "trained")
    }
    batches = make_builder(small("supermask"), tmp_path).batches
    for batch_norm, result in results.items():
        ticket = lthrun.load_ticket(result.run_dir / "ticket.safetensors")
        model = build_model("resnet18", 2, 0)
        with torch.no_grad():
            for name, mask in ticket.masks.items():
                model.get_parameter(name).mul_(mask)
            trained = read_tensors(result.run_dir / "model.safetensors")[0]
            if batch_norm == "trained":
                for i in (1, 4):
                    model[i].running_mean.copy_(trained[f"{i}.running_mean"])
                    model[i].running_var.copy_(trained[f"{i}.running_var"])
            if batch_norm == "recalibrate":
                model[1].momentum = model[4].momentum = None
                model.train()
                for images, _ in batches.center_crops("train", 8):
                    model(images)
            model.eval()
            correct = [
                int((model(images).argmax(1) == labels)[labels == c].sum())
                for images, labels in batches.center_crops("valid", 1000)
                for c in (0, 1)
            ]
        counts = batches.valid_counts
        mask = result.summary.supermask
        assert mask.batch_norm == batch_norm
        assert mask.accuracy == pytest.approx(sum(correct) / sum(counts))
        assert mask.balanced_accuracy == pytest.approx(sum(c / n for c, n in zip(correct, counts, strict=True)) / 2)
        assert result.summary.accuracy == result.summary.levels[-1].accuracy
    assert len({result.run_dir for result in results.values()}) == 3


def test_a_mask_can_be_evaluated_on_the_signs_of_the_initial_weights(small: Callable, tmp_path: Path):
    """Signs times the standard deviation of a layer's initial weights, on a mask from ordinary training."""
    plain = run(small("supermask", **{"supermask.batch_norm": "initial"}), tmp_path)
    signs = run(small("supermask", **BY_SIGN), tmp_path)
    assert all(level.reused for level in signs.summary.levels) and signs.run_dir != plain.run_dir
    model = build_model("resnet18", 2, 0)
    with torch.no_grad():
        for name, mask in lthrun.load_ticket(plain.run_dir / "ticket.safetensors").masks.items():
            weights = model.get_parameter(name)
            weights.copy_(weights.sign() * weights.std(correction=0) * mask)
    batches = make_builder(small("supermask"), tmp_path).batches
    model.eval()
    right = sum(int((model(images).argmax(1) == labels).sum()) for images, labels in batches.center_crops("valid", 99))
    assert signs.summary.supermask.accuracy == pytest.approx(right / sum(batches.valid_counts))


def test_what_was_evaluated_is_not_evaluated_again(small: Callable, tmp_path: Path):
    config = small("supermask", **{"pruning.steps": 1, "training.epochs": 1})
    interrupt(config, tmp_path / "stopped", 7, Evaluated)
    (file,) = tmp_path.glob("stopped/supermask-*/evaluations.jsonl")
    first = read_lines(file)
    rest = run(config, tmp_path / "stopped")
    lines = read_lines(file)
    assert len(first) == 7 and lines[:7] == first
    names = [line["name"] for line in lines]
    assert len(names) == len(set(names)) == 2 + 20, "the mask, the dense network and the random masks"
    assert rest.summary.supermask == run(config, tmp_path / "whole").summary.supermask
