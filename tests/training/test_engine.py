"""A step, an evaluation and an estimate of batch norm, against plain PyTorch written out here."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from lthrun.analysis.intervals import accuracy, balanced_accuracy
from lthrun.config.pruning import LayerSelection
from lthrun.config.sections import Training
from lthrun.models import build_model
from lthrun.sparsity import masks as masking
from lthrun.sparsity.layer_selection import select_prunable
from lthrun.training import state
from lthrun.training.engine import Engine, recalibrate_batch_norm
from tests.conftest import tiny
from tests.tape import CountReads

CPU = torch.device("cpu")


def batch(seed: int, count: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 3, 16, 16, generator=rng).contiguous(memory_format=torch.channels_last)
    return images, torch.randint(2, (count,), generator=rng)


def model() -> nn.Module:
    torch.manual_seed(0)
    return tiny(2)


def make_engine(masks: dict[str, torch.Tensor] | None = None, **settings: Any) -> Engine:
    return Engine(model(), Training(**settings), CPU, "float32", masks or {})


def some_masks() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {f"{i}.weight": torch.rand_like(model()[i].weight) > 0.5 for i in (0, 3)}


@pytest.mark.parametrize("masked", [False, True])
def test_steps_agree_with_adamw_written_out(masked: bool):
    masks = some_masks() if masked else {}
    engine = make_engine(masks)
    plain = model()
    masking.apply_masks(dict(plain.named_parameters()), masks)
    moments = {name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in plain.named_parameters()}
    engine.model.train()
    for t in range(1, 7):
        engine.step(batch(t))
        plain.zero_grad()
        loss = cross_entropy(plain(batch(t)[0]), batch(t)[1])
        loss.backward()
        with torch.no_grad():
            for name, p in plain.named_parameters():
                first, second = moments[name]
                first.mul_(0.9).add_(0.1 * p.grad)
                second.mul_(0.99).add_(0.01 * p.grad**2)
                if name in ("0.weight", "3.weight", "8.weight"):  # weights decay; biases and batch norm do not
                    p.mul_(1 - 1e-3 * 0.01)
                p.sub_(1e-3 * (first / (1 - 0.9**t)) / ((second / (1 - 0.99**t)).sqrt() + 1e-5))
                if name in masks:
                    p.mul_(masks[name])
        for name, p in plain.named_parameters():
            assert torch.allclose(engine.model.get_parameter(name), p, atol=1e-6), name


def test_pruned_weights_are_zero_after_every_step():
    masks = some_masks()
    engine = make_engine(masks, learning_rate=0.1)
    engine.model.train()
    for t in range(5):
        for name, mask in masks.items():
            assert not engine.model.get_parameter(name)[~mask].any()
        engine.step(batch(t))
        assert any(engine.model.get_parameter(name)[mask].any() for name, mask in masks.items())
    for name, mask in masks.items():
        assert not engine.model.get_parameter(name)[~mask].any()


def test_a_step_reads_nothing_back_from_the_device():
    engine = make_engine(some_masks())
    engine.model.train()
    with CountReads() as count:
        engine.step(batch(0))
        engine.step(batch(1))
        assert count.reads == 0
        engine.take_loss()
        assert count.reads == 1, "a read is counted where there is one"


def test_losses_are_summed_until_they_are_taken():
    engine = make_engine(learning_rate=1e-9)
    engine.model.train()
    expected = 0.0
    for t in range(3):
        expected += float(cross_entropy(copy.deepcopy(engine.model)(batch(t)[0]), batch(t)[1]).detach())
        engine.step(batch(t))
    assert engine.take_loss() == pytest.approx(expected, rel=1e-5) and engine.take_loss() == 0


def test_evaluation_is_that_of_all_images_at_once():
    engine = make_engine()
    parts = [batch(1, 5), batch(2, 3)]
    images, labels = (torch.cat(side) for side in zip(*parts, strict=True))
    evaluation = engine.evaluate(parts, 2)
    with torch.no_grad():
        logits = model().eval()(images)
    assert evaluation.loss == pytest.approx(float(cross_entropy(logits, labels)), rel=1e-5)
    assert evaluation.correct == [int(((logits.argmax(1) == c) & (labels == c)).sum()) for c in (0, 1)]


def test_accuracies_by_hand():
    assert accuracy([10, 60], [30, 70]) == pytest.approx(0.7)
    assert balanced_accuracy([10, 60], [30, 70]) == pytest.approx((1 / 3 + 6 / 7) / 2)


def test_recalibrated_statistics_are_the_cumulative_average_over_the_batches():
    engine = make_engine()
    momentum = engine.model[1].momentum
    recalibrate_batch_norm(engine, [batch(1), batch(2), batch(3)])
    first = model()[0]
    with torch.no_grad():
        outputs = [first(batch(seed)[0]) for seed in (1, 2, 3)]
    assert torch.allclose(engine.model[1].running_mean, sum(o.mean((0, 2, 3)) for o in outputs) / 3, atol=1e-6)
    assert torch.allclose(engine.model[1].running_var, sum(o.var((0, 2, 3)) for o in outputs) / 3, atol=1e-6)
    assert engine.model[1].momentum == momentum
    for name, p in model().named_parameters():
        assert torch.equal(p, engine.model.get_parameter(name)), "weights are unchanged"


def test_copied_and_loaded_state_is_equal_to_the_bit():
    engine, other = make_engine(), make_engine()
    engine.model.train()
    for t in range(3):
        engine.step(batch(t))
    state.load_model_state(other.model, state.copy_model_state(engine.model))
    state.load_optimizer_state(other, state.copy_optimizer_state(engine))
    other.model.train()
    for t in range(3, 6):
        engine.step(batch(t))
        other.step(batch(t))
    for one, two in (
        (state.copy_model_state(engine.model), state.copy_model_state(other.model)),
        (state.copy_optimizer_state(engine), state.copy_optimizer_state(other)),
    ):
        assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def make_engine_in(
    memory_format: torch.memory_format, monkeypatch: pytest.MonkeyPatch, optimizer: str = "adamw"
) -> Engine:
    monkeypatch.setattr("lthrun.training.engine.choose_memory_format", lambda device, precision: memory_format)
    return make_engine(optimizer=optimizer)


LAYOUTS = (torch.contiguous_format, torch.channels_last)


@pytest.mark.parametrize("memory_format", LAYOUTS)
def test_moments_are_those_of_their_weight_in_any_memory_format(
    memory_format: torch.memory_format, monkeypatch: pytest.MonkeyPatch
):
    engine = make_engine_in(memory_format, monkeypatch)
    expected = {}
    for name, p in engine.model.named_parameters():
        p.grad = torch.randn_like(p)
        expected[f"{name}/exp_avg"] = 0.1 * p.grad
        expected[f"{name}/exp_avg_sq"] = 0.01 * p.grad**2
    engine.optimizer.step()
    engine.optimizer.zero_grad(set_to_none=True)
    assert all(p.grad is None for p in engine.model.parameters())
    moments = state.copy_optimizer_state(engine)
    for name, value in expected.items():
        assert moments[name].is_contiguous() and torch.allclose(moments[name], value, rtol=1e-5), name


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("target", LAYOUTS)
@pytest.mark.parametrize("source", LAYOUTS)
def test_training_continues_in_another_memory_format(
    source: torch.memory_format, target: torch.memory_format, optimizer: str, monkeypatch: pytest.MonkeyPatch
):
    engine = make_engine_in(source, monkeypatch, optimizer)
    engine.model.train()
    for t in range(2):
        engine.step(batch(t))
    other = make_engine_in(target, monkeypatch, optimizer)
    state.load_model_state(other.model, state.copy_model_state(engine.model))
    state.load_optimizer_state(other, state.copy_optimizer_state(engine))
    other.model.train()
    engine.step(batch(2))
    other.step(batch(2))
    for one, two in (
        (state.copy_model_state(engine.model), state.copy_model_state(other.model)),
        (state.copy_optimizer_state(engine), state.copy_optimizer_state(other)),
    ):
        assert one.keys() == two.keys()
        for name, value in one.items():
            torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-4 * float(value.double().abs().max()))


def test_no_gradient_is_copied_for_the_optimizer(monkeypatch: pytest.MonkeyPatch):
    engine = make_engine_in(torch.channels_last, monkeypatch)
    assert not engine.model[3].weight.is_contiguous()
    optimized = {id(p) for group in engine.optimizer.param_groups for p in group["params"]}
    assert id(engine.model[3].weight) not in optimized and id(engine.model[8].weight) in optimized
    for p in engine.model.parameters():
        p.grad = torch.randn_like(p)
    address = engine.model[3].weight.grad.data_ptr()
    engine.optimizer.step()
    assert engine.optimizer.param_groups[0]["params"][1].grad.data_ptr() == address


def test_copied_state_does_not_change_with_the_model():
    engine = make_engine()
    saved = state.copy_model_state(engine.model)
    before = {name: value.clone() for name, value in saved.items()}
    engine.model.train()
    engine.step(batch(0))
    assert all(torch.equal(saved[name], before[name]) for name in saved)


def test_reset_batch_norm():
    engine = make_engine()
    engine.model.train()
    engine.step(batch(0))
    reset = state.reset_batch_norm(engine.model, state.copy_model_state(engine.model))
    for i in (1, 4):
        assert (reset[f"{i}.running_mean"] == 0).all() and (reset[f"{i}.running_var"] == 1).all()
        assert (reset[f"{i}.weight"] == 1).all() and (reset[f"{i}.bias"] == 0).all()
        assert reset[f"{i}.num_batches_tracked"] == 0
    assert torch.equal(reset["0.weight"], engine.model[0].weight)


def test_bfloat16_trains_with_float32_weights():
    engine = Engine(model(), Training(), CPU, "bfloat16", {})
    engine.model.train()
    engine.step(batch(0))
    assert all(p.dtype == torch.float32 for p in engine.model.parameters())
    exact = make_engine()
    exact.model.train()
    exact.step(batch(0))
    assert engine.take_loss() == pytest.approx(exact.take_loss(), rel=0.05)


def test_the_prunable_tensors_of_resnet18_are_its_twenty_convolutions():
    built = build_model("resnet18", 2, 0)
    names = select_prunable(built, LayerSelection())
    assert len(names) == 20 and sum(built.get_parameter(n).numel() for n in names) == 11_166_912
    assert "fc.weight" not in names and not any("bn" in n or "downsample.1" in n for n in names)


def test_initialization_depends_on_the_seed_alone():
    torch.manual_seed(1)
    first = build_model("resnet18", 2, 0)
    after = torch.rand(1)
    torch.manual_seed(2)
    again, other = build_model("resnet18", 2, 0), build_model("resnet18", 2, 1)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.conv1.weight, other.conv1.weight)
    torch.manual_seed(1)
    assert torch.equal(after, torch.rand(1)), "the global random state is unchanged"
