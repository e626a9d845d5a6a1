"""Test images: evaluated once, by the last network, and seen by nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from lthrun.events import ignore
from lthrun.levels.builder import LevelBuilder
from lthrun.levels.context import prepare
from lthrun.models import build_model
from lthrun.storage.level_store import LevelStore
from lthrun.storage.tensor_files import read_tensors
from tests.conftest import LAYOUT, run

pytestmark = pytest.mark.usefixtures("tiny_model")


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
    assert result.summary.test.accuracy == pytest.approx(right / 18)


def test_without_test_images_there_is_no_test_accuracy(small: Callable, tmp_path: Path):
    assert run(small("baseline"), tmp_path).summary.test is None
