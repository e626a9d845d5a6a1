"""One thread for small networks: which those are, and that it holds for the time of a run."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from lthrun import models
from lthrun.experiments import load_config
from lthrun.training.backend_flags import backend_flags
from lthrun.training.cpu_threads import choose_threads, count_operations

CPU = torch.device("cpu")


def choose(**settings: Any) -> int | None:
    return choose_threads(load_config(None, "baseline", options={"device": "cpu", **settings}))


def test_operations_are_two_per_weight_and_image_in_linear_layers():
    weights = 3 * 28 * 28 * 300 + 300 * 100 + 100 * 10
    assert count_operations(models.MODELS["lenet300"], 28, 60) == 2 * 60 * weights


@pytest.mark.parametrize(
    ("model", "size", "batch", "threads"),
    [("lenet300", 28, 60, 1), ("conv2", 32, 60, None), ("resnet20", 32, 128, None), ("resnet18", 64, 64, None)],
)
def test_small_networks_get_one_thread(model: str, size: int, batch: int, threads: int | None):
    settings = {"model.name": model, "data.image_size": size, "training.batch_size": batch}
    assert choose(**settings) == threads
    assert choose(**settings, device="cuda:0") is None


def test_a_network_that_reads_its_numbers_counts_as_large(monkeypatch: pytest.MonkeyPatch):
    class Reads(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.flatten(1)) * float(x.sum())

    monkeypatch.setitem(models.MODELS, "resnet18", models.ModelEntry(lambda classes, *_: Reads(768, classes), ""))
    assert choose(**{"data.image_size": 16}) is None


@pytest.mark.parametrize(("threads", "expected"), [(1, 1), (None, 3)])
def test_the_number_holds_for_the_time_of_a_run(threads: int | None, expected: int):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with backend_flags(CPU, False, threads=threads):
            assert torch.get_num_threads() == expected
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
