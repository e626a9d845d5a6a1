"""Apple's GPU, by a stand-in for PyTorch's check for it: what is chosen and refused. No run on it was ever measured."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lthrun.errors import UserError
from lthrun.experiments import load_config
from lthrun.levels.context import check_mps, find_device, find_precision
from lthrun.training.cuda_graphs import make_recorder
from lthrun.training.memory_layout import choose_memory_format

MPS = torch.device("mps")


@pytest.fixture
def apple(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)


def test_without_it_mps_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UserError, match="device: found mps; PyTorch finds no GPU of Apple on this machine"):
        find_device("mps")


def test_it_is_used_where_it_is_asked_for_in_float32_and_without_graphs(apple: None, monkeypatch: pytest.MonkeyPatch):
    assert find_device(load_config(None, "ticket", ["device=mps"]).device) == MPS
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device("auto") == torch.device("cpu")
    assert find_precision("auto", MPS) == "float32" and make_recorder(MPS) is None
    assert choose_memory_format(MPS, "float32") is torch.contiguous_format


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "bfloat16"}, "precision: found bfloat16; device: mps trains in float32: use auto"),
        ({"pruning.criterion": "synflow"}, "pruning.criterion: found synflow; it needs float64"),
    ],
)
def test_what_it_lacks_is_refused(apple: None, settings: dict[str, Any], message: str):
    config = load_config(None, "ticket", options={"device": "mps", **settings})
    with pytest.raises(UserError, match=message):
        check_mps(config, MPS)
    check_mps(config, torch.device("cpu"))
    check_mps(load_config(None, "baseline", options={"device": "mps"}), MPS)
