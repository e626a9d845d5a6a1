"""The recipes of configs/recipes, on a few small images: the first losses are those that they had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lthrun.config.yaml_files import shipped_configs
from lthrun.experiments import load_config
from tests.conftest import run

LOSSES = {"lenet-mnist": 1.5033, "pets-90": 1.0967, "resnet20-cifar10": 3.6011}
"""Mean training loss of the first epoch, of 6 steps."""


def test_each_recipe_is_here():
    assert sorted(file.stem for file in (shipped_configs() / "recipes").glob("*.yaml")) == sorted(LOSSES)


@pytest.mark.parametrize("name", LOSSES)
def test_a_recipe_starts_with_these_losses(name: str, images: Path, tmp_path: Path):
    few: dict[str, Any] = {"data.dataset": "pets", "data.dir": str(images), "data.image_size": 32, "data.test": 0.0}
    few |= {"data.validation": 20.0, "training.batch_size": 8, "training.epochs": 4, "device": "cpu"}
    config = load_config(f"recipes/{name}", None if name == "lenet-mnist" else "baseline", options=few)
    if name == "lenet-mnist":
        config = config.baseline(0)
    first = run(config, tmp_path).metrics[0]
    assert first["train_loss"] == pytest.approx(LOSSES[name], rel=0.01)
