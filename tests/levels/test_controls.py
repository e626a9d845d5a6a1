"""Looks within an epoch, levels that differ in one thing from a ticket's, and another order of the images."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lthrun.experiments import run
from lthrun.levels.builder import LevelBuilder
from lthrun.levels.context import RunContext, prepare
from lthrun.levels.plan import Level, control, reordered
from lthrun.models import build_model
from lthrun.sparsity.masks import Tensors
from lthrun.storage.level_store import LevelStore
from lthrun.training import state
from lthrun.training.engine import Engine

pytestmark = pytest.mark.usefixtures("tiny_model")


def quiet(*_: Any, **__: Any) -> None:
    pass


def prepared(config: Any, out: Path) -> tuple[RunContext, LevelBuilder]:
    context = prepare(config, quiet)
    return context, LevelBuilder(context, LevelStore(out), quiet)


def trained(builder: LevelBuilder, levels: list[Level]) -> list[dict[str, Any]]:
    return [builder.get_or_train(level) for level in levels]


def same(one: Tensors, other: Tensors) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_looks_see_the_model_of_their_step_and_change_nothing(small: Callable, tmp_path: Path):
    looked = small("ticket", **{"training.evaluate_every": 4, "training.evaluate_images": 7, "pruning.steps": 1})
    context, builder = prepared(looked, tmp_path / "a")
    records = trained(builder, context.levels)
    plain_setting, plain_lab = prepared(small("ticket", **{"pruning.steps": 1}), tmp_path / "b")
    plain = trained(plain_lab, plain_setting.levels)
    for level, record, other, without in zip(context.levels, records, plain_setting.levels, plain, strict=True):
        assert level.key != other.key
        assert same(builder.end(level)[0], plain_lab.end(other)[0])
        assert [e["valid_loss"] for e in record["epochs"]] == [e["valid_loss"] for e in without["epochs"]]
        assert [e["looks"] for e in without["epochs"]] == [[], []]
    steps = builder.batches.epoch_steps
    assert [look["step"] for e in records[1]["epochs"] for look in e["looks"]] == list(range(4, 2 * steps + 1, 4))
    engine = Engine(build_model("resnet18", 2, 0), looked.training, torch.device("cpu"), "float32", {})
    images, labels = (torch.cat(parts) for parts in zip(*builder.batches.validation_batches(), strict=True))
    chosen = [k * len(labels) // 7 for k in range(7)]
    for step in range(8):
        engine.model.train()
        engine.step(builder.batches.training_batch(step))
    look = records[0]["epochs"][(8 - 1) // steps]["looks"][1 if steps >= 8 else 0]
    assert look["step"] == 8
    found = engine.evaluate([(images[chosen], labels[chosen])], 2)
    assert look["loss"] == pytest.approx(found.loss, rel=1e-5)
    assert look["accuracy"] == sum(found.correct) / 7


def test_looks_come_into_the_metrics_and_survive_a_stop_within_an_epoch(small: Callable, tmp_path: Path):
    config = small("baseline", **{"training.evaluate_every": 2})
    whole = run(config, tmp_path / "a")
    assert all(line["looks"] for line in whole.metrics)

    def stop(kind: str, **facts: Any) -> None:
        if kind == "step" and facts["level_epoch"] == 1 and facts["done"] == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "b", emit=stop, checkpoint_every="1it")
    again = run(config, tmp_path / "b")
    assert [line["looks"] for line in again.metrics] == [line["looks"] for line in whole.metrics]
    lines = [json.loads(line) for line in (again.run_dir / "metrics.jsonl").read_text().splitlines()]
    assert lines == again.metrics


@pytest.mark.parametrize("context", ["local", "global"])
def test_a_random_mask_keeps_as_many_weights_of_each_tensor_on_the_same_weights(
    small: Callable, tmp_path: Path, context: str
):
    config = small("ticket", **{"pruning.context": context, "pruning.steps": 2})
    context, builder = prepared(config, tmp_path)
    last = context.levels[-1]
    twin = control(last, "random-mask", config, context.conditions)
    trained(builder, [*context.levels, twin])
    own, drawn = builder.mask(last), builder.mask(twin)
    assert {n: int(m.sum()) for n, m in own.items()} == {n: int(m.sum()) for n, m in drawn.items()}
    assert any(not torch.equal(own[name], drawn[name]) for name in own)
    assert same(builder.end(twin)[1], drawn), "the mask does not change in training"
    start, initial = builder.start(twin, drawn), state.copy_model_state(build_model("resnet18", 2, 0))
    assert all(torch.equal(start[n], initial[n] * drawn[n] if n in drawn else initial[n]) for n in initial)
    assert not same(builder.end(twin)[0], builder.end(last)[0])


def test_random_init_is_the_tickets_mask_on_weights_of_another_draw(small: Callable, tmp_path: Path):
    config = small("ticket", **{"pruning.steps": 2})
    context, builder = prepared(config, tmp_path)
    last = context.levels[-1]
    twin = control(last, "random-init", config, context.conditions)
    trained(builder, [*context.levels, twin])
    masks = builder.mask(last)
    assert same(builder.mask(twin), masks) and same(builder.end(twin)[1], masks)
    start, drawn = builder.start(twin, masks), state.copy_model_state(build_model("resnet18", 2, 0, 1))
    assert all(torch.equal(start[n], drawn[n] * masks[n] if n in masks else drawn[n]) for n in drawn)


def test_an_untrained_level_is_the_supermask_of_the_ticket(small: Callable, tmp_path: Path):
    config = small("ticket", **{"pruning.steps": 2})
    context, builder = prepared(config, tmp_path)
    made = [control(level, "untrained", config, context.conditions) for level in context.levels[1:]]
    records = trained(builder, [*context.levels, *made])[-2:]
    judged = run(small("supermask", **{"pruning.steps": 2}), tmp_path).summary["supermask"]["levels"]
    assert [r["epochs"][-1]["accuracy"] for r in records] == [j["accuracy"] for j in judged]
    assert [r["sparsity"] for r in records] == [j["sparsity"] for j in judged]
    assert all(r["epochs"][0]["train_loss"] is None for r in records)
    assert builder.get_or_train(made[0])["reused"]


def test_another_order_is_the_same_images_at_other_steps(small: Callable, tmp_path: Path):
    config = small("baseline")
    context, builder = prepared(config, tmp_path)
    other = reordered(context.levels[0], 1, config, context.conditions)
    assert other.key != context.levels[0].key and not other.is_dense
    batches = builder.batches
    orders = [
        torch.cat([batches.training_batch(step, order)[1] for step in range(batches.epoch_steps)]) for order in (0, 1)
    ]
    assert not torch.equal(*orders)
    assert torch.equal(batches.training_batch(3, 1)[0], batches.training_batch(3, 1)[0])
    trained(builder, [context.levels[0], other])
    assert not same(builder.end(other)[0], builder.end(context.levels[0])[0])


def test_every_control_has_a_name_of_its_own(small: Callable, tmp_path: Path):
    config = small("ticket")
    context, _ = prepared(config, tmp_path)
    last = context.levels[-1]
    twins = [control(last, kind, config, context.conditions) for kind in ("random-mask", "random-init", "untrained")]
    assert len({level.key for level in [last, *twins, reordered(last, 1, config, context.conditions)]}) == 5
