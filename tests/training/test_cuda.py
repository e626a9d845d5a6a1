"""On a GPU: recorded steps are eager ones, an epoch reads nothing back, and `deterministic` gives the same bits."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from lthrun import models
from lthrun.config.pruning import LayerSelection
from lthrun.config.sections import Training
from lthrun.data.batches import Batches
from lthrun.events import CudaGraphFallback, Emit, Event, ignore
from lthrun.levels.context import prepare
from lthrun.models import build_model
from lthrun.sparsity import masks as masking
from lthrun.sparsity.layer_selection import select_prunable
from lthrun.training import cuda_graphs as graphs
from lthrun.training import state
from lthrun.training.backend_flags import WORKSPACE, WORKSPACES, backend_flags
from lthrun.training.cuda_streams import training_stream
from lthrun.training.engine import Engine, Evaluation, recalibrate_batch_norm
from tests.conftest import assert_same, interrupt, run, tiny
from tests.tape import all_equal
from tests.training.test_cuda_graphs import RATES, SETTINGS, Noisy, read_fallbacks, train
from tests.training.test_cuda_streams import in_threads
from tests.training.test_engine import batch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
CUDA = torch.device("cuda:0")
if torch.cuda.is_available():  # before the first test that uses the GPU
    os.environ.setdefault(WORKSPACE, WORKSPACES[0])


def half_masks(net: nn.Module) -> masking.Tensors:
    return masking.make_masks(
        {name: net.get_parameter(name).detach().abs() for name in select_prunable(net, LayerSelection())}, 50.0
    )


def make_engine(settings: str, precision: str, emit: Emit = ignore) -> Engine:
    net = build_model("resnet18", 2, 0)
    return Engine(net, SETTINGS[settings], CUDA, precision, half_masks(net), emit=emit)


def train_on_gpu(engine: Engine) -> Engine:
    engine.model.train()
    for step, rate in enumerate(RATES):
        images, labels = batch(step)
        engine.step((images.to(CUDA), labels.to(CUDA)), rate / 10)
    return engine


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("settings", SETTINGS)
def test_recorded_steps_are_eager_steps_to_the_bit_where_kernels_are_deterministic(settings: str, precision: str):
    events: list[Event] = []
    with backend_flags(CUDA, True):
        recorded = train_on_gpu(make_engine(settings, precision, events.append))
        eager = make_engine(settings, precision)
        eager._training._recorder = None
        train_on_gpu(eager)
    assert not events
    one, two = state.copy_model_state(recorded.model), state.copy_model_state(eager.model)
    assert all(torch.equal(one[name], two[name]) for name in one)
    for name, mask in recorded.masks.items():
        assert not one[name][~mask].any()


def test_recorded_steps_on_the_gpu_are_those_of_the_cpu():
    """Within 1e-3 of float32 values of about 1, after 8 steps of a tiny model: sums are in another order."""
    torch.manual_seed(0)
    nets = [tiny(2), tiny(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    with backend_flags(CUDA, False):
        on_gpu = train_on_gpu(Engine(nets[0], SETTINGS["sgd"], CUDA, "float32", {}))
    on_cpu = train(Engine(nets[1], SETTINGS["sgd"], torch.device("cpu"), "float32", {}), [r / 10 for r in RATES])
    one, two = state.copy_model_state(on_gpu.model), state.copy_model_state(on_cpu.model)
    assert all(torch.allclose(one[name].float(), two[name].float(), atol=1e-3) for name in one)


def test_within_an_epoch_nothing_is_read_from_the_gpu(small: Callable):
    context = prepare(small("baseline", device="cuda"), lambda *_, **__: None)
    batches = Batches(context.store, context.split, context.config.data, 8, 0, CUDA)
    net = build_model("resnet18", 2, 0)
    engine = Engine(net, Training(), CUDA, "bfloat16", half_masks(net))
    engine.model.train()
    for step in range(6):
        engine.step(batches.training_batch(step), 1e-3)
    for _ in range(2):
        engine.evaluate(batches.validation_batches(), 2)
    engine.model.train()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step in range(6, 12):
            engine.step(batches.training_batch(step), 1e-3)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_model_that_draws_is_not_recorded():
    events: list[Event] = []
    train_on_gpu(Engine(Noisy(2), Training(), CUDA, "float32", {}, emit=events.append))
    assert events == [CudaGraphFallback("training", graphs.DRAWS)]


def test_where_recording_fails_training_continues_eagerly():
    """A graph cannot wait for the device; this model starts to do so after the warm-up."""
    events: list[Event] = []

    class Late(nn.Sequential):
        calls = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            if self.calls > graphs.WARM_UPS:
                float(x.sum())
            return super().forward(x)

    engine = train_on_gpu(Engine(Late(*tiny(2)), Training(), CUDA, "float32", {}, emit=events.append))
    assert [event.what for event in events] == ["training"] and int(engine.finite) == len(RATES)
    assert torch.cuda.current_stream(CUDA) == torch.cuda.default_stream(CUDA)
    engine.evaluate([(images.to(CUDA), labels.to(CUDA)) for images, labels in [batch(0)]], 2)


@pytest.mark.parametrize("experiment", ["ticket", "prune"])
@pytest.mark.parametrize("moment", [4, 9])
def test_with_deterministic_a_resumed_run_equals_an_uninterrupted_one_to_the_bit(
    small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, experiment: str, moment: int
):
    monkeypatch.setitem(models.MODELS, "resnet18", models.ModelEntry(tiny, ""))
    config = small(experiment, device="cuda", deterministic=True, **{"training.epochs": 4, "pruning.steps": 1})
    whole = run(config, tmp_path / "whole")
    assert not read_fallbacks(whole.run_dir)
    interrupt(config, tmp_path / "broken", moment, checkpoint_every="2it")
    assert_same(run(config, tmp_path / "broken"), whole)


def test_one_engine_evaluates_several_masks_as_one_engine_for_each():
    cases = [
        (state.copy_model_state(net), half_masks(net)) for net in (build_model("resnet18", 2, i) for i in range(3))
    ]
    training = [(images.to(CUDA), labels.to(CUDA)) for images, labels in (batch(i, 16) for i in range(6))]

    def evaluate(engine: Engine) -> tuple[Evaluation, list[torch.Tensor]]:
        recalibrate_batch_norm(engine, training)
        return engine.evaluate(training, 2), list(state.copy_model_state(engine.model).values())

    with backend_flags(CUDA, True):
        one = make_engine("adamw", "float32")
        for weights, masks in cases:
            one.load(weights, masks)
            evaluation, after = evaluate(one)
            other = make_engine("adamw", "float32")
            other.load(weights, masks)
            expected, expected_after = evaluate(other)
            assert evaluation == expected and all_equal(after, expected_after)


def test_engines_in_threads_train_as_alone_to_the_bit_where_kernels_are_deterministic():
    nets = [build_model("resnet18", 2, number) for number in range(4)]

    def train_one(number: int) -> list[torch.Tensor]:
        net, settings = copy.deepcopy(nets[number]), list(SETTINGS.values())[number]
        with backend_flags(CUDA, True), training_stream(CUDA):
            engine = train_on_gpu(Engine(net, settings, CUDA, "bfloat16", half_masks(net)))
            return list(state.copy_model_state(engine.model).values())

    alone = [train_one(number) for number in range(4)]
    together = in_threads(4, train_one)
    assert all(all_equal(one, two) for one, two in zip(alone, together, strict=True))
