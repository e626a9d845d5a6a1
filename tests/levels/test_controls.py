"""Levels that differ from a ticket's in one thing, and levels in another order of the images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lthrun.experiments.connectivity import plan_reordered
from lthrun.experiments.run import Run
from lthrun.levels.builder import LevelBuilder
from lthrun.levels.cache import get_or_train
from lthrun.levels.plan import Level, plan_control
from lthrun.models import build_model
from lthrun.sparsity.masks import Tensors
from lthrun.training import state
from tests.conftest import prepare_levels, run, same_tensors, train

pytestmark = pytest.mark.usefixtures("tiny_module")
Ticket = tuple[Run, LevelBuilder]


@pytest.fixture(scope="module", params=["local", "global"])
def ticket(
    request: pytest.FixtureRequest, small: Callable, tiny_module: None, tmp_path_factory: pytest.TempPathFactory
) -> Ticket:
    """A trained ticket of two pruning steps."""
    config = small("ticket", **{"pruning.context": request.param, "pruning.steps": 2})
    planned, builder = prepare_levels(config, tmp_path_factory.mktemp("ticket"))
    train(builder, planned.levels)
    return planned, builder


def train_control(ticket: Ticket, kind: str) -> tuple[Level, Tensors, Tensors]:
    """The last level with one thing replaced, trained; its masks, and the state that it starts from."""
    planned, builder = ticket
    level = plan_control(planned.levels[-1], kind, planned.config, planned.context.conditions)
    train(builder, [level])
    masks = builder.mask_maker.make_level_masks(level)
    return level, masks, builder.states.start(level, masks)


def initial(masks: Tensors, *draw: int) -> Tensors:
    """The masked initial weights, or those of another draw."""
    weights = state.copy_model_state(build_model("resnet18", 2, 0, *draw))
    return {name: value * masks[name] if name in masks else value for name, value in weights.items()}


def test_a_random_mask_keeps_as_many_weights_of_each_tensor_on_the_same_weights(ticket: Ticket):
    planned, builder = ticket
    last = planned.levels[-1]
    level, masks, start = train_control(ticket, "random-mask")
    own = builder.mask_maker.make_level_masks(last)
    assert {n: int(m.sum()) for n, m in own.items()} == {n: int(m.sum()) for n, m in masks.items()}
    assert any(not torch.equal(own[name], masks[name]) for name in own)
    assert same_tensors(builder.states.end(level)[1], masks), "the mask does not change in training"
    assert same_tensors(start, initial(masks))
    assert not same_tensors(builder.states.end(level)[0], builder.states.end(last)[0])


def test_random_init_is_the_tickets_mask_on_weights_of_another_draw(ticket: Ticket):
    planned, builder = ticket
    level, masks, start = train_control(ticket, "random-init")
    assert same_tensors(masks, builder.states.end(planned.levels[-1])[1])
    assert same_tensors(masks, builder.states.end(level)[1])
    assert same_tensors(start, initial(masks, 1))


def test_an_untrained_level_is_the_supermask_of_the_ticket(ticket: Ticket, small: Callable):
    planned, builder = ticket
    levels = [
        plan_control(level, "untrained", planned.config, planned.context.conditions) for level in planned.levels[1:]
    ]
    records = train(builder, levels)
    settings = {"pruning.context": planned.config.mask_settings.context, "pruning.steps": 2}
    evaluated = run(small("supermask", **settings), builder.levels.root.parent).summary.supermask.levels
    assert [record.epochs[-1].accuracy for record in records] == [level.accuracy for level in evaluated]
    assert [record.sparsity for record in records] == [level.sparsity for level in evaluated]
    assert all(record.epochs[0].train_loss is None for record in records)
    assert get_or_train(builder, levels[0])[1], "it is cached"


def test_another_order_is_the_same_images_at_other_steps(small: Callable, tmp_path: Path):
    planned, builder = prepare_levels(small("baseline"), tmp_path)
    (level,) = planned.levels
    other = plan_reordered(level, 1, planned.config, planned.context.conditions)
    assert other.key != level.key and not other.is_dense
    batches = builder.batches
    orders = [
        torch.cat([batches.training_batch(step, order)[1] for step in range(batches.epoch_steps)]) for order in (0, 1)
    ]
    assert not torch.equal(*orders)
    assert torch.equal(batches.training_batch(3, 1)[0], batches.training_batch(3, 1)[0])
    train(builder, [level, other])
    assert not same_tensors(builder.states.end(other)[0], builder.states.end(level)[0])


def test_every_control_has_a_key_of_its_own(ticket: Ticket):
    planned, _ = ticket
    last, facts = planned.levels[-1], (planned.config, planned.context.conditions)
    controls = [plan_control(last, kind, *facts) for kind in ("random-mask", "random-init", "untrained")]
    assert len({level.key for level in [last, *controls, plan_reordered(last, 1, *facts)]}) == 5
