"""Recorded steps are those of a plain loop to the bit, on a stand-in for CUDA graphs (tests/tape.py)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lthrun import models
from lthrun.config.sections import Training
from lthrun.events import CudaGraphFallback, Emit, Event, ignore
from lthrun.report.screen import Screen
from lthrun.report.terminal import make_console
from lthrun.sparsity import masks as masking
from lthrun.sparsity import supermasks
from lthrun.training import cuda_graphs as graphs
from lthrun.training import state
from lthrun.training.engine import Engine
from tests.conftest import LAYOUT, run, tiny
from tests.tape import Tape, all_equal
from tests.training.test_engine import CPU, LAYOUTS, batch, model, some_masks

RATES = [0.1, 0.1, 0.05, 0.05, 0.025, 0.1, 0.0125, 0.3]
SETTINGS = {
    "adamw": Training(optimizer="adamw", weight_decay=0.1),
    "sgd": Training(optimizer="sgd", weight_decay=0.1),
    "sgd without momentum": Training(optimizer="sgd", momentum=0.0),
    "nesterov": Training(optimizer="sgd", nesterov=True),
    "adam": Training(optimizer="adam", weight_decay=0.1),
}


@pytest.fixture
def tape(monkeypatch: pytest.MonkeyPatch) -> Tape:
    recorder = Tape()
    monkeypatch.setattr(graphs, "make_recorder", lambda device: recorder)
    return recorder


def single(rate: float) -> float:
    """The rate in float32, as it lies on the device."""
    return float(torch.tensor(rate, dtype=torch.float32))


def train_by_hand(
    settings: Training, masks: dict[str, Tensor], rates: list[float], layout: torch.memory_format = LAYOUT
) -> tuple[nn.Module, float]:
    """The model after a step at each rate, and the sum of the losses, in a plain PyTorch loop."""
    net = model().to(memory_format=layout)
    kept = [(net.get_parameter(name), mask) for name, mask in masks.items()]
    groups = [
        {"params": [p for p in net.parameters() if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in net.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer: torch.optim.Optimizer
    if settings.optimizer == "adamw":
        optimizer = torch.optim.AdamW(groups, betas=settings.betas, eps=settings.eps, fused=True)
    elif settings.optimizer == "adam":
        optimizer = torch.optim.Adam(net.parameters(), betas=settings.betas, eps=settings.eps, fused=True)
    else:
        optimizer = torch.optim.SGD(groups, momentum=settings.momentum, nesterov=settings.nesterov, fused=True)
    total = torch.zeros(())
    with torch.no_grad():
        for weight, mask in kept:
            weight.masked_fill_(~mask, 0.0)
    net.train()
    for step, rate in enumerate(rates):
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        images, labels = batch(step)
        loss = cross_entropy(net(images.contiguous(memory_format=layout)), labels)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for weight, mask in kept:
                weight.masked_fill_(~mask, 0.0)
            total += loss
    return net, float(total)


def train(engine: Engine, rates: list[float]) -> Engine:
    engine.model.train()
    for step, rate in enumerate(rates):
        engine.step(batch(step), rate)
    return engine


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("settings", SETTINGS)
def test_a_step_is_that_of_a_plain_loop_to_the_bit(
    settings: str, masked: bool, layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("lthrun.training.engine.choose_memory_format", lambda device, precision: layout)
    masks = some_masks() if masked else {}
    engine = train(Engine(model(), SETTINGS[settings], CPU, "float32", masks), RATES)
    net, total = train_by_hand(SETTINGS[settings], masks, RATES, layout)
    assert all_equal(state.copy_model_state(engine.model).values(), state.copy_model_state(net).values())
    assert engine.take_loss() == total and int(engine.finite) == len(RATES)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("settings", SETTINGS)
def test_recorded_steps_are_plain_steps_to_the_bit_at_every_rate(tape: Tape, settings: str, masked: bool):
    masks = some_masks() if masked else {}
    engine = train(Engine(model(), SETTINGS[settings], CPU, "float32", masks), RATES)
    net, total = train_by_hand(SETTINGS[settings], masks, [single(rate) for rate in RATES])
    assert tape.counts() == {"warm up": 3, "record": 1, "replay": len(RATES) - 3}
    assert all_equal(state.copy_model_state(engine.model).values(), state.copy_model_state(net).values())
    assert engine.take_loss() == total and int(engine.finite) == len(RATES)


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_warm_up_and_recording_cost_no_step_and_no_random_draw(tape: Tape, steps: int):
    engine = Engine(model(), SETTINGS["adamw"], CPU, "float32", some_masks())
    before = torch.get_rng_state()
    engine.model.train()
    batches = [batch(step) for step in range(steps)]
    for one, rate in zip(batches, RATES, strict=False):
        engine.step(one, rate)
    assert torch.equal(before, torch.get_rng_state())
    net, _ = train_by_hand(SETTINGS["adamw"], some_masks(), [single(rate) for rate in RATES[:steps]])
    assert all_equal(state.copy_model_state(engine.model).values(), state.copy_model_state(net).values())
    counts = [value for name, value in state.copy_optimizer_state(engine).items() if name.endswith("/step")]
    assert counts and all(float(count) == steps for count in counts)


def test_new_masks_are_recorded_again(tape: Tape):
    engine = train(Engine(model(), SETTINGS["adamw"], CPU, "float32", {}), RATES[:5])
    assert tape.counts() == {"warm up": 3, "record": 1, "replay": 2}
    engine.prune(some_masks())
    train(engine, RATES[:5])
    assert tape.counts() == {"warm up": 6, "record": 2, "replay": 4}
    for name, mask in some_masks().items():
        weight = engine.model.get_parameter(name)
        assert not weight[~mask].any() and weight[mask].any()


def test_validation_is_recorded_once_for_each_shape(tape: Tape):
    engine = Engine(model(), Training(), CPU, "float32", {})
    parts = [batch(1, 5), batch(2, 4), batch(3, 4)]
    first = engine.evaluate(parts, 2)
    assert tape.counts() == {"warm up": 3, "record": 0, "replay": 0}, "an engine that evaluates once records nothing"
    again = engine.evaluate(parts, 2)
    assert again == first and torch.equal(again.right, first.right)
    train(engine, RATES[:2])
    now = engine.evaluate(parts, 2)
    assert tape.counts() == {"warm up": 5, "record": 2, "replay": 6}
    plain = Engine(model(), Training(), CPU, "float32", {})
    state.load_model_state(plain.model, state.copy_model_state(engine.model))
    plain._validation = graphs.GraphedFunction(None, "validation", 1, ignore)
    assert plain.evaluate(parts, 2) == now != first
    for _ in range(3):  # a shape that comes later is warmed up as well
        assert engine.evaluate([batch(1, 3)], 2) == plain.evaluate([batch(1, 3)], 2)
    assert tape.counts() == {"warm up": 6, "record": 3, "replay": 8}


def test_state_is_exchanged_between_recorded_and_plain_engines(tape: Tape, monkeypatch: pytest.MonkeyPatch):
    """Checkpoints of a GPU and of the CPU are one format."""
    recorded = train(Engine(model(), SETTINGS["adamw"], CPU, "float32", some_masks()), RATES)
    other = train(Engine(model(), SETTINGS["adamw"], CPU, "float32", some_masks()), RATES[:6])
    monkeypatch.setattr(graphs, "make_recorder", lambda device: None)
    plain = train(Engine(model(), SETTINGS["adamw"], CPU, "float32", some_masks()), [single(r) for r in RATES])
    one, two = state.copy_optimizer_state(recorded), state.copy_optimizer_state(plain)
    assert list(one) == list(two) and all_equal(one.values(), two.values())
    assert [(t.dtype, t.shape) for t in one.values()] == [(t.dtype, t.shape) for t in two.values()]
    # Also into one that has recorded already: its graph works on the loaded state.
    state.load_model_state(other.model, state.copy_model_state(plain.model))
    state.load_optimizer_state(other, two)
    for engine in (other, plain):
        train(engine, [single(r) for r in RATES[:2]])
    assert all_equal(state.copy_model_state(other.model).values(), state.copy_model_state(plain.model).values())


class Noisy(nn.Sequential):
    def __init__(self, classes: int, *_: int):
        super().__init__(*tiny(classes)[:-1], nn.Dropout(0.5), nn.Linear(8, classes))


def with_learned_masks(method: str) -> Callable[[int], nn.Module]:
    def make(classes: int) -> nn.Module:
        net = tiny(classes)
        rng = torch.Generator().manual_seed(0)
        supermasks.make_learnable(net, ["0.weight", "3.weight"], method, 50.0, rng)
        for learned in supermasks.parametrizations(net).values():
            if method == "edge-popup":
                learned.scores.data.round_(decimals=1)  # so that some are equal
        return net

    return make


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Noisy, graphs.DRAWS),
        (with_learned_masks("bernoulli"), graphs.DRAWS),
        (with_learned_masks("edge-popup"), graphs.WAITS),
    ],
)
def test_a_model_that_draws_or_reads_is_not_recorded_and_trains_eagerly(
    tape: Tape, monkeypatch: pytest.MonkeyPatch, make: Callable[[int], nn.Module], reason: str
):
    events: list[Event] = []

    def make_engine(emit: Emit = ignore) -> Engine:
        torch.manual_seed(0)
        return Engine(make(2), SETTINGS["sgd"], CPU, "float32", {}, emit=emit)

    def train_seeded(engine: Engine) -> Engine:
        engine.model.train()
        for step in range(6):
            torch.manual_seed(step)
            engine.step(batch(step), single(0.1))
        return engine

    engine = train_seeded(make_engine(events.append))
    assert events == [CudaGraphFallback("training", reason)]
    assert tape.counts() == {"warm up": 3, "record": 0, "replay": 0}
    monkeypatch.setattr(graphs, "make_recorder", lambda device: None)
    plain = train_seeded(make_engine())
    assert all_equal(state.copy_model_state(engine.model).values(), state.copy_model_state(plain.model).values())


def test_where_recording_fails_training_continues_eagerly_and_reports_it_once(tape: Tape):
    events: list[Event] = []
    tape.failing = "out of memory\nand more lines"
    engine = Engine(model(), SETTINGS["adamw"], CPU, "float32", some_masks(), emit=events.append)
    train(engine, RATES)
    net, total = train_by_hand(SETTINGS["adamw"], some_masks(), [single(rate) for rate in RATES])
    assert all_equal(state.copy_model_state(engine.model).values(), state.copy_model_state(net).values())
    assert engine.take_loss() == total
    assert events == [CudaGraphFallback("training", "recording it failed (out of memory)")]
    assert tape.counts() == {"warm up": 3, "record": 1, "replay": 0}


def read_fallbacks(run_dir: Path) -> list[dict[str, Any]]:
    """The CUDA graph fallbacks among the events of a run."""
    events = [json.loads(line) for line in (run_dir / "events.jsonl").read_text().splitlines()]
    return [event for event in events if event.get("what") in ("training", "validation")]


@pytest.mark.usefixtures("tiny_model")
@pytest.mark.parametrize(("experiment", "recordings"), [("ticket", 6), ("prune", 2)])
def test_a_whole_run_is_recorded(tape: Tape, small: Callable, tmp_path: Path, experiment: str, recordings: int):
    result = run(small(experiment, **{"pruning.steps": 2}), tmp_path)
    assert result.metrics[-1]["sparsity"] == pytest.approx(50) and not read_fallbacks(result.run_dir)
    assert tape.counts()["record"] == recordings
    tape.failing = "no"
    again = run(small(experiment, **{"pruning.steps": 2}), tmp_path, fresh=True)
    assert read_fallbacks(again.run_dir)
    times = ("seconds", "images_per_second", "time")
    for one, two in zip(result.metrics, again.metrics, strict=True):
        assert {k: v for k, v in one.items() if k not in times} == {k: v for k, v in two.items() if k not in times}
    for file in result.run_dir.glob("*.safetensors"):
        assert (again.run_dir / file.name).read_bytes() == file.read_bytes()


@pytest.mark.usefixtures("tiny_model")
def test_the_screen_reports_a_fallback_once(
    tape: Tape, small: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(models.MODELS, "resnet18", models.ModelEntry(Noisy, ""))
    with Screen(make_console()) as screen:
        result = run(small("ticket", **{"pruning.steps": 2}), tmp_path, screen)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "CUDA graph" in line]
    assert line.endswith(graphs.DRAWS)
    assert {event["what"] for event in read_fallbacks(result.run_dir)} == {"training"}


def test_masks_of_one_kept_weight_hold_in_a_recording(tape: Tape):
    masks = masking.make_masks({"0.weight": model()[0].weight.detach().abs()}, 99.0)
    engine = train(Engine(model(), SETTINGS["sgd"], CPU, "float32", masks), RATES)
    assert int((engine.model[0].weight != 0).sum()) == 1
