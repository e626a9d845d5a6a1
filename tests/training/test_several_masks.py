"""One engine for several masks: the numbers of one engine for each, with one recording for all."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lthrun.sparsity.masks import Tensors
from lthrun.training import cuda_graphs as graphs
from lthrun.training import state
from lthrun.training.engine import Engine, Evaluation, recalibrate_batch_norm
from tests.tape import Tape, all_equal
from tests.training.test_cuda_graphs import RATES, SETTINGS, tape, train  # noqa: F401
from tests.training.test_engine import CPU, batch, model

TRAINING_BATCHES = [batch(step, 8 if step < 6 else 5) for step in range(8)]
VALIDATION_BATCHES = [batch(10, 7), batch(11, 6)]


def draw_masks(seed: int) -> Tensors:
    rng = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(model().get_parameter(name).shape, generator=rng) > 0.5 for name in ("0.weight", "3.weight")
    }


def draw_weights(seed: int) -> Tensors:
    rng = torch.Generator().manual_seed(seed)
    initial = state.copy_model_state(model())
    return {n: torch.rand(t.shape, generator=rng) - 0.3 if "weight" in n else t for n, t in initial.items()}


def make_engine(settings: str, weights: Tensors, masks: Tensors, frozen: Tensors, **options: Any) -> Engine:
    net = model()
    state.load_model_state(net, weights)
    return Engine(net, SETTINGS[settings], CPU, "float32", masks, frozen, **options)


def evaluate(engine: Engine) -> tuple[Evaluation, Tensors]:
    recalibrate_batch_norm(engine, TRAINING_BATCHES)
    return engine.evaluate(VALIDATION_BATCHES, 2), state.copy_model_state(engine.model)


CASES = [(draw_weights(seed), draw_masks(seed), draw_weights(9) if seed == 2 else {}) for seed in range(4)]
CASES = [(weights, masks, {name: frozen[name] for name in masks} if frozen else {}) for weights, masks, frozen in CASES]


def assert_one_engine_is_enough() -> None:
    one = make_engine("adamw", *CASES[0])
    for weights, masks, frozen in CASES:
        one.load(weights, masks, frozen)
        evaluation, after = evaluate(one)
        expected, expected_after = evaluate(make_engine("adamw", weights, masks, frozen))
        assert evaluation == expected and torch.equal(evaluation.right, expected.right)
        assert all_equal(after.values(), expected_after.values())


def test_evaluations_are_those_of_an_engine_for_each_mask():
    assert_one_engine_is_enough()


def test_recorded_evaluations_are_those_of_an_engine_for_each_mask(tape: Tape):  # noqa: F811
    assert_one_engine_is_enough()


def test_recalibration_and_validation_are_recorded_once(tape: Tape):  # noqa: F811
    engine = make_engine("adamw", *CASES[0])
    evaluate(engine)
    assert tape.counts()["record"] == 2, "recalibration of two shapes; a first validation is not recorded"
    for case in CASES:
        engine.load(*case)
        evaluate(engine)
    assert tape.counts()["record"] == 4
    assert tape.counts()["warm up"] == 3 + 1 + 2, "of recalibration, of its other shape, and of validation"


@pytest.mark.parametrize("settings", ["adamw", "sgd"])
@pytest.mark.parametrize("is_recorded", [False, True])
def test_training_after_loading_is_that_of_a_new_engine(
    tape: Tape,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    settings: str,
    is_recorded: bool,
):
    if not is_recorded:
        monkeypatch.setattr(graphs, "make_recorder", lambda device: None)
    engine = train(make_engine(settings, *CASES[0]), RATES)
    engine.load(*CASES[2])
    new = make_engine(settings, *CASES[2])
    for one in (engine, new):
        one.model.train()
        one.step(batch(0))  # at the learning rate of the settings
        train(one, RATES)
    assert all_equal(state.copy_model_state(engine.model).values(), state.copy_model_state(new.model).values())
    one, two = state.copy_optimizer_state(engine), state.copy_optimizer_state(new)
    assert one.keys() == two.keys() and all_equal(one.values(), two.values())
    assert engine.take_loss() == new.take_loss() and int(engine.finite) == int(new.finite)


def test_recorded_statistics_are_the_mean_over_the_batches(tape: Tape):  # noqa: F811
    engine = make_engine("adamw", *CASES[1])
    recalibrate_batch_norm(engine, TRAINING_BATCHES)
    with torch.no_grad():
        outputs = [engine.model[0](images) for images, _ in TRAINING_BATCHES]
    norm = engine.model[1]
    assert torch.allclose(norm.running_mean, sum(o.mean((0, 2, 3)) for o in outputs) / len(outputs), atol=1e-6)
    assert torch.allclose(norm.running_var, sum(o.var((0, 2, 3)) for o in outputs) / len(outputs), atol=1e-6)
    assert norm.momentum == 0.1 and int(norm.num_batches_tracked) == len(TRAINING_BATCHES)


def test_a_model_without_batch_norm_runs_no_pass():
    def never() -> Any:
        raise AssertionError("a pass was run")
        yield

    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2))
    recalibrate_batch_norm(Engine(net, SETTINGS["sgd"], CPU, "float32", {}), never())


def test_a_recording_that_fails_in_the_backward_pass_leaves_no_gradients(
    tape: Tape,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
):
    """The steps afterwards are those of an engine that never recorded."""
    monkeypatch.setattr("lthrun.training.engine.choose_memory_format", lambda *_: torch.contiguous_format)

    class ReadsInBackward(torch.autograd.Function):
        calls = 0

        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            ReadsInBackward.calls += 1
            if ReadsInBackward.calls > graphs.WARM_UPS:
                float(gradient.sum())
            return gradient

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = model()

        def forward(self, x: Tensor) -> Tensor:
            return self.net[3:](ReadsInBackward.apply(self.net[:3](x)))

    recorded = train(Engine(Model(), SETTINGS["sgd"], CPU, "float32", {}), RATES)
    assert tape.counts() == {"warm up": 3, "record": 1, "replay": 0}
    monkeypatch.setattr(graphs, "make_recorder", lambda device: None)
    rates = [float(torch.tensor(rate, dtype=torch.float32)) for rate in RATES]
    eager = train(Engine(Model(), SETTINGS["sgd"], CPU, "float32", {}), rates)
    assert all_equal(state.copy_model_state(recorded.model).values(), state.copy_model_state(eager.model).values())
