"""The disk that a run needs, known before anything is trained: never less than it writes, and not much more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lthrun.events import ignore
from lthrun.experiments.disk_space import level_bytes, run_bytes
from lthrun.experiments.run import prepare_run
from lthrun.storage.tensor_files import read_tensors
from tests.conftest import run

pytestmark = pytest.mark.usefixtures("tiny_module")


def count_tensor_bytes(folder: Path) -> int:
    files = [read_tensors(path)[0] for path in folder.glob("*.safetensors")]
    return sum(tensor.numel() * tensor.element_size() for tensors in files for tensor in tensors.values())


@pytest.mark.parametrize(
    ("experiment", "settings"),
    [
        ("baseline", {"training.epochs": 4}),
        ("baseline", {"training.epochs": 12, "training.batch_size": 48}),
        ("ticket", {"rewind.to": "3it"}),
        ("ticket", {"pruning.protocol": "fasterai"}),
        ("prune", {}),
        ("supermask", {"supermask.method": "edge-popup"}),
        ("supermask", {"supermask.method": "bernoulli"}),
        ("connectivity", {"pruning.steps": 1, "connectivity.rewind_points": ["0ep", "1ep"], "connectivity.points": 3}),
    ],
)
def test_the_forecast_covers_what_is_written(
    small: Callable, tmp_path: Path, experiment: str, settings: dict[str, Any]
):
    config = small(experiment, **settings)
    planned = prepare_run(config, ignore)
    result = run(config, tmp_path)
    for task in planned.tasks:
        forecast = level_bytes(task.level, planned.model_size, planned.context.conditions.epoch_steps)
        written = count_tensor_bytes(tmp_path / "levels" / task.key)
        assert written <= forecast <= 1.5 * written, task.about
    written = count_tensor_bytes(result.run_dir)
    assert written <= run_bytes(planned) <= 1.5 * written
