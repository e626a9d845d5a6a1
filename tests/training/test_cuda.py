"""On a GPU: recorded steps beside plain ones, nothing read within an epoch, the same bits where they are asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lthrun import models
from lthrun.config.sections import LayerSelection, Training
from lthrun.data.batches import Batches
from lthrun.experiments import run
from lthrun.experiments.context import prepare
from lthrun.models import build_model
from lthrun.sparsity import masks as masking
from lthrun.sparsity.layer_selection import select_prunable
from lthrun.training import cuda_graphs as graphs
from lthrun.training import state
from lthrun.training.backend_flags import WORKSPACE, WORKSPACES, backend_flags
from lthrun.training.engine import Engine
from tests.conftest import tiny
from tests.storage.test_reliability import broken_off, same
from tests.training.test_cuda_graphs import RATES, SETTINGS, Noisy, told, trained
from tests.training.test_engine import batch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
CUDA = torch.device("cuda:0")
if torch.cuda.is_available():  # before the first test that uses the GPU
    os.environ.setdefault(WORKSPACE, WORKSPACES[0])


def halved(net: nn.Module) -> masking.Tensors:
    return masking.make_masks(
        {name: net.get_parameter(name).detach().abs() for name in select_prunable(net, LayerSelection())}, 50.0
    )


def engine(settings: str, precision: str, **more: Any) -> Engine:
    net = build_model("resnet18", 2, 0)
    return Engine(net, SETTINGS[settings], CUDA, precision, halved(net), **more)


def steps(made: Engine) -> Engine:
    made.model.train()
    for step, rate in enumerate(RATES):
        images, labels = batch(step)
        made.step((images.to(CUDA), labels.to(CUDA)), rate / 10)
    return made


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("settings", SETTINGS)
def test_recorded_steps_are_plain_steps_to_the_bit_where_kernels_are_deterministic(settings: str, precision: str):
    said: list[dict[str, str]] = []
    with backend_flags(CUDA, True):
        recorded = steps(engine(settings, precision, uncaptured=lambda **facts: said.append(facts)))
        plain = engine(settings, precision)
        plain._steps._recorder = None
        steps(plain)
    assert not said
    one, two = state.copy_model_state(recorded.model), state.copy_model_state(plain.model)
    assert all(torch.equal(one[name], two[name]) for name in one)
    for name, mask in recorded.masks.items():
        assert not one[name][~mask].any()


def test_recorded_steps_on_the_gpu_are_those_of_the_cpu():
    """Within 1e-3 of float32 values of about 1, after 8 steps of a tiny model: sums are in another order."""
    torch.manual_seed(0)
    nets = [tiny(2), tiny(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    with backend_flags(CUDA, False):
        on_gpu = steps(Engine(nets[0], SETTINGS["sgd"], CUDA, "float32", {}))
    on_cpu = trained(Engine(nets[1], SETTINGS["sgd"], torch.device("cpu"), "float32", {}), [r / 10 for r in RATES])
    one, two = state.copy_model_state(on_gpu.model), state.copy_model_state(on_cpu.model)
    assert all(torch.allclose(one[name].float(), two[name].float(), atol=1e-3) for name in one)


def test_within_an_epoch_nothing_is_read_from_the_gpu(small: Callable):
    context = prepare(small("baseline", device="cuda"), lambda *_, **__: None)
    batches = Batches(context.store, context.split, context.config.data, 8, 0, CUDA)
    net = build_model("resnet18", 2, 0)
    made = Engine(net, Training(), CUDA, "bfloat16", halved(net))
    made.model.train()
    for step in range(6):
        made.step(batches.training_batch(step), 1e-3)
    for _ in range(2):
        made.evaluate(batches.validation_batches(), 2)
    made.model.train()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step in range(6, 12):
            made.step(batches.training_batch(step), 1e-3)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_model_that_draws_is_not_recorded():
    said: list[dict[str, str]] = []
    made = Engine(Noisy(2), Training(), CUDA, "float32", {}, uncaptured=lambda **facts: said.append(facts))
    steps(made)
    assert said == [{"what": "training", "why": graphs.DRAWS}]


def test_where_recording_fails_it_goes_on():
    """A graph cannot wait for the device, and this one hides it from the warm-up."""
    said: list[dict[str, str]] = []

    class Late(nn.Sequential):
        calls = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            if self.calls > graphs.WARM_UPS:
                float(x.sum())
            return super().forward(x)

    made = Engine(Late(*tiny(2)), Training(), CUDA, "float32", {}, uncaptured=lambda **facts: said.append(facts))
    steps(made)
    assert [facts["what"] for facts in said] == ["training"] and int(made.finite) == len(RATES)
    assert torch.cuda.current_stream(CUDA) == torch.cuda.default_stream(CUDA)
    made.evaluate([(images.to(CUDA), labels.to(CUDA)) for images, labels in [batch(0)]], 2)


@pytest.mark.parametrize("experiment", ["ticket", "prune"])
@pytest.mark.parametrize("moment", [4, 9])
def test_with_deterministic_a_resumed_run_is_the_undisturbed_one_to_the_bit(
    small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, experiment: str, moment: int
):
    monkeypatch.setitem(models.MODELS, "resnet18", models.ModelEntry(tiny, ""))
    events: list[tuple[str, dict[str, Any]]] = []
    config = small(experiment, device="cuda", deterministic=True, **{"training.epochs": 4, "pruning.steps": 1})
    whole = run(config, tmp_path / "whole", emit=told(events))
    assert "uncaptured" not in dict(events)
    broken_off(config, tmp_path / "broken", moment, checkpoint_every=2)
    same(run(config, tmp_path / "broken"), whole)
