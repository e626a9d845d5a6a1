"""Tasks that are trained, and one thread for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from lthrun.events import ignore
from lthrun.executors.tasks import LevelTask, complete_graph
from lthrun.experiments.run import prepare_run

REAL = {"model.name": "resnet20", "pruning.steps": 1, "training.epochs": 1}  # worker processes know no patched models


@pytest.fixture
def make_tasks(small: Callable[..., Any]) -> Callable[..., list[LevelTask]]:
    """The tasks of tickets, each with some settings."""

    def make(*settings: dict[str, Any]) -> list[LevelTask]:
        runs = [prepare_run(small("ticket", **REAL | given), ignore) for given in settings]
        return complete_graph(task for run in runs for task in run.tasks)

    return make


@pytest.fixture
def three(make_tasks: Callable[..., list[LevelTask]]) -> list[LevelTask]:
    """Two tickets of two levels each, with level 0 in common."""
    return make_tasks({"pruning.sparsity": 50}, {"pruning.sparsity": 80})


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Bits depend on the number of threads, and workers that share two cores have one each."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
