"""Connectivity: two trainings that differ in the order of the images alone, and the error on the line between them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lthrun.events import Evaluated, Event, Reordered, Replaying, ignore
from lthrun.executors.tasks import RunOptions
from lthrun.executors.worker import LevelWorker
from lthrun.experiments import Result
from lthrun.experiments.connectivity import PathEvaluator, interpolate
from lthrun.experiments.run import prepare_run
from lthrun.experiments.trained_run import TrainedRun
from lthrun.levels.builder import LevelBuilder
from lthrun.levels.plan import Level
from lthrun.models import build_model
from lthrun.sparsity.masks import Tensors
from lthrun.storage.run_dir import RunDir
from lthrun.training import state
from tests.conftest import interrupt, run, select

pytestmark = pytest.mark.usefixtures("tiny_module")
POINTS = {"connectivity.rewind_points": ["0ep", "1ep"], "connectivity.points": 5, "pruning.steps": 2}


@pytest.fixture(scope="module")
def finished(
    small: Callable, tiny_module: None, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Result, TrainedRun, LevelBuilder]:
    """A finished run of the tiny network."""
    out, config = tmp_path_factory.mktemp("finished"), small("connectivity", **POINTS)
    result, prepared = run(config, out), prepare_run(config, ignore)
    worker = LevelWorker(RunOptions(out), ignore, prepared.context)
    trained: TrainedRun = TrainedRun(prepared, RunDir(result.run_dir), worker, {}, {}, ignore)
    return result, trained, trained.builder


def pair_levels(trained: TrainedRun) -> list[tuple[Level, Level]]:
    """Each level that is trained in two orders, and its twin."""
    return [(twin.twin, twin) for twin in trained.run.levels if twin.twin]


def have_equal_tensors(one: Tensors, other: Tensors) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def evaluate_by_hand(builder: LevelBuilder, weights: Tensors) -> tuple[float, float]:
    """Error and loss; batch norm's statistics are plain means over the batches of center crops."""
    model = build_model("resnet18", 2, 0)
    model.load_state_dict(weights)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    seen: dict[nn.Module, list[torch.Tensor]] = {norm: [] for norm in norms}
    for norm in norms:
        norm.register_forward_pre_hook(lambda norm, inputs: seen[norm].append(inputs[0].transpose(0, 1).flatten(1)))
    with torch.no_grad():
        for images, _ in builder.batches.center_crops("train", builder.batches.batch_size):
            model.train()(images)
    for norm in norms:
        norm.running_mean = torch.stack([values.mean(1) for values in seen[norm]]).mean(0)
        norm.running_var = torch.stack([values.var(1) for values in seen[norm]]).mean(0)
    images, labels = (torch.cat(parts) for parts in zip(*builder.batches.validation_batches(), strict=True))
    with torch.no_grad():
        logits = model.eval()(images)
    wrong = (logits.argmax(1) != labels).float().mean()
    return float(wrong), float(nn.functional.cross_entropy(logits, labels))


def test_the_path_leads_from_one_trained_network_to_the_other(finished: tuple[Result, TrainedRun, LevelBuilder]):
    result, trained, builder = finished
    paths = result.summary.connectivity
    assert [(path.rewind_point, path.network) for path in paths] == [
        ("0ep", "dense"), ("0ep", "ticket"), ("1ep", "dense"), ("1ep", "ticket"),
    ]  # fmt: skip
    for (one, other), path in zip(pair_levels(trained), paths, strict=True):
        assert path.alphas == [0, 0.25, 0.5, 0.75, 1]
        assert [(end.key, end.order) for end in path.ends] == [(one.key, 0), (other.key, 1)]
        ends = [builder.states.end(level)[0] for level in (one, other)]
        for alpha, error, loss in zip(path.alphas, path.errors, path.losses, strict=True):
            mixed = {name: ends[0][name].clone() for name in ends[0]}
            for name in mixed:
                if mixed[name].is_floating_point():
                    for place, value in enumerate(ends[1][name].flatten().tolist()):
                        flat = mixed[name].view(-1)
                        flat[place] = (1 - alpha) * float(flat[place]) + alpha * value
            assert (error, loss) == pytest.approx(evaluate_by_hand(builder, mixed), rel=1e-4)
        assert [1 - end.accuracy for end in path.ends] == pytest.approx([path.errors[0], path.errors[-1]])
        assert path.barrier == max(path.errors) - (path.errors[0] + path.errors[-1]) / 2
        assert path.interval[0] <= path.barrier <= path.interval[1]
        assert path.stable == (path.barrier < 0.02)
        assert path.sparsity == (50 if path.network == "ticket" else 0)


def test_both_trainings_share_start_mask_and_steps_and_differ_in_the_order(
    finished: tuple[Result, TrainedRun, LevelBuilder],
):
    _, trained, builder = finished
    states, make_masks = builder.states, builder.mask_maker.make_level_masks
    for level, twin in pair_levels(trained):
        masks = make_masks(level)
        assert have_equal_tensors(make_masks(twin), masks) and bool(masks) == bool(level.parent)
        assert have_equal_tensors(states.start(twin, masks), states.start(level, masks))
        assert have_equal_tensors(states.end(twin)[1], states.end(level)[1])
        assert (twin.first, twin.steps, twin.order, level.order) == (level.first, level.steps, 1, 0)
        ends = states.end(level)[0], states.end(twin)[0]
        assert not have_equal_tensors(*ends)
        for name, mask in masks.items():
            assert not interpolate(*ends, 0.3)[name][~mask].any()


def test_order_0_is_the_ticket_of_the_same_settings_and_level_0_is_trained_once(
    finished: tuple[Result, TrainedRun, LevelBuilder], small: Callable
):
    result, trained, _ = finished
    keys = [level.key for level in trained.run.levels]
    assert len(set(keys)) == len(keys) == 1 + 2 + (1 + 2) * 2 + 1
    for point in ("0ep", "1ep"):
        chain = prepare_run(small("ticket", **{"rewind.to": point, "pruning.steps": 2}), ignore).levels
        assert {level.key for level in chain} <= set(keys)
    assert keys[-1] == chain[-1].key
    assert result.summary.rewind_point == "1ep" and result.summary.sparsity == 50
    assert (result.run_dir / "ticket.safetensors").exists()


def test_the_dense_network_starts_from_the_rewind_point_as_the_ticket_does(
    finished: tuple[Result, TrainedRun, LevelBuilder],
):
    _, trained, builder = finished
    dense = next(level for level in trained.run.levels if level.origin and not level.parent)
    steps = builder.epoch_steps
    assert (dense.first, dense.end, dense.order, dense.is_dense) == (steps, 3 * steps, 0, False)
    saved = state.select_prefix("model", builder.levels.read(trained.run.levels[0].key, "epoch-1"))
    assert have_equal_tensors(builder.states.start(dense, {}), saved)
    assert "optimizer.safetensors" not in {path.name for path in (builder.levels.root / dense.key).iterdir()}


@given(st.lists(st.floats(-9, 9, width=32), min_size=3, max_size=3), st.floats(0, 1))
def test_interpolation_is_the_weighted_mean_and_bit_identical_at_the_ends(values: list[float], alpha: float):
    one = {"w": torch.tensor(values), "count": torch.tensor(3)}
    other = {"w": torch.tensor([1.5, 0.0, -2.0]), "count": torch.tensor(9)}
    expected = [(1 - alpha) * a + alpha * b for a, b in zip(values, [1.5, 0.0, -2.0], strict=True)]
    assert interpolate(one, other, alpha)["w"].tolist() == pytest.approx(expected, abs=1e-5)
    assert have_equal_tensors(interpolate(one, other, 0.0), one)
    assert torch.equal(interpolate(one, other, 1.0)["w"], other["w"])
    assert have_equal_tensors(interpolate(one, one, alpha), one)


def test_between_a_network_and_itself_there_is_no_barrier(
    finished: tuple[Result, TrainedRun, LevelBuilder], tmp_path: Path
):
    trained = replace(finished[1], run_dir=RunDir(tmp_path))
    level = trained.run.levels[0]
    path = PathEvaluator(trained)(level, level)
    assert len(set(path.errors)) == len(set(path.losses)) == 1
    assert path.barrier == 0 and path.interval == (0, 0) and path.stable


def test_what_was_evaluated_is_not_evaluated_again(small: Callable, tmp_path: Path):
    fewer = {"connectivity.rewind_points": ["0ep"], "pruning.steps": 1, "training.epochs": 1}
    config = small("connectivity", **POINTS | fewer)
    interrupt(config, tmp_path / "stopped", 7, Evaluated)
    (file,) = tmp_path.glob("stopped/connectivity-*/evaluations.jsonl")
    first = file.read_text().splitlines()
    rest = run(config, tmp_path / "stopped")
    lines = file.read_text().splitlines()
    assert len(first) == 7 and lines[:7] == first
    names = [json.loads(line)["name"] for line in lines]
    assert len(names) == len(set(names)) == 2 * 5
    whole = run(config, tmp_path / "whole")
    assert rest.summary.connectivity == whole.summary.connectivity


def test_a_rewind_point_within_an_epoch_is_replayed_once(small: Callable, tmp_path: Path):
    points = {"connectivity.rewind_points": ["3it"], "connectivity.points": 3, "pruning.steps": 1}
    events: list[Event] = []
    result = run(small("connectivity", **points), tmp_path, events.append)
    assert len(select(events, Replaying)) == 1 and len(select(events, Reordered)) == 2
    assert [level.level for level in result.summary.levels] == [0, 0, 0, 1, 1]
