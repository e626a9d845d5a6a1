"""Levels as they are planned: their keys, and the steps that they train."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lthrun.experiments import load_config
from lthrun.levels.keys import Conditions
from lthrun.levels.plan import Level, plan_chain, plan_dense

CONDITIONS = Conditions({"images": "x"}, 92, "cpu", "float32")


def plan(conditions: Conditions = CONDITIONS, **settings: Any) -> list[Level]:
    config: Any = load_config(None, "ticket", options=settings)
    return plan_chain(config, config.pruning, config.rewind, conditions)


def keys(*args: Any, **settings: Any) -> list[str]:
    return [level.key for level in plan(*args, **settings)]


def spans(**settings: Any) -> list[tuple[int, int]]:
    """The first step of each level, and the step after its last."""
    return [(level.first, level.end) for level in plan(**settings)]


def test_the_default_ticket_is_four_levels_of_five_epochs():
    assert [level.sparsity for level in plan()] == pytest.approx([0, 50 / 3, 100 / 3, 50])
    assert spans() == [(0, 460)] * 4


def test_rewinding_resets_the_step_count_to_the_rewind_point():
    assert spans(**{"rewind.to": "1ep"}) == [(0, 460)] + [(92, 552)] * 3
    assert spans(**{"rewind.to": "200it", "rewind.train": "remaining"}) == [(0, 460)] + [(200, 460)] * 3


def test_under_fasterai_the_step_count_continues():
    settings = {"pruning.protocol": "fasterai", "rewind.to": "1ep"}
    assert spans(**settings) == [(0, 460), (460, 920), (920, 1380), (1380, 1840)]
    assert all(level.continues for level in plan(**settings)[1:])


@pytest.mark.parametrize(
    "settings",
    [
        {"rewind.to": "1ep"},
        {"pruning.protocol": "fasterai"},
        {"pruning.sparsity": 90, "pruning.steps": 1, "pruning.context": "global"},
    ],
)
def test_level_0_is_the_baseline_whatever_follows(settings: dict[str, Any]):
    own = keys(**settings)
    assert own[0] == keys()[0] == plan_dense(load_config(None, "baseline"), CONDITIONS).key
    assert own[1] != keys()[1]


def test_levels_of_one_chain_are_shared_by_a_longer_one():
    assert keys(**{"pruning.sparsity": 20, "pruning.steps": 2}) == keys(**{"pruning.sparsity": 30})[:3]


def test_a_context_has_one_key_whether_it_is_given_or_follows_from_the_criterion():
    assert keys() == keys(**{"pruning.context": "local"})
    snip = {"pruning.criterion": "snip"}
    assert keys(**snip) == keys(**snip, **{"pruning.context": "global"})
    assert not set(keys(**snip)[1:]) & set(keys(**snip, **{"pruning.context": "local"}))


SETTINGS = {
    "seed": 1,
    "training.batch_size": 32,
    "training.learning_rate": 0.1,
    "training.betas": [0.8, 0.99],
    "training.eps": 1e-8,
    "training.weight_decay": 0.0,
    "training.epochs": 6,
}
FROM_LEVEL_1 = {
    "pruning.sparsity": 60,
    "pruning.steps": 5,
    "pruning.criterion": "random",
    "pruning.granularity": "filter",
    "pruning.context": "global",
    "pruning.protocol": "fasterai",
    "rewind.to": "3it",
}


@pytest.mark.parametrize("key", SETTINGS)
def test_what_determines_the_numbers_is_in_every_key(key: str):
    assert not set(keys()) & set(keys(**{key: SETTINGS[key]}))


@pytest.mark.parametrize("key", FROM_LEVEL_1)
def test_how_it_is_pruned_and_rewound_is_in_the_keys_from_level_1(key: str):
    plain, other = keys(), keys(**{key: FROM_LEVEL_1[key]})
    assert plain[0] == other[0] and not set(plain[1:]) & set(other[1:])


@pytest.mark.parametrize(
    "other", [{"data": {"images": "y"}}, {"device": "cuda"}, {"precision": "bfloat16"}, {"deterministic": True}]
)
def test_images_device_and_precision_are_in_every_key(other: dict[str, Any]):
    assert not set(keys()) & set(keys(replace(CONDITIONS, **other)))


def test_where_data_and_results_lie_is_in_no_key():
    assert keys() == keys(**{"data.dir": "/another/place", "device": "cpu"})


@pytest.mark.parametrize("point", ["0ep", "1ep", "10ep", "92it"])  # 92 steps are an epoch, however it is written
def test_a_rewind_point_that_level_0_keeps_needs_no_replay(point: str):
    dense, first, *_ = plan(**{"rewind.to": point, "training.epochs": 12})
    assert first.origin == (None if point == "0ep" else dense)


@pytest.mark.parametrize(("point", "step"), [("200it", 200), ("11ep", 11 * 92)])
def test_another_rewind_point_is_reached_by_a_replay_of_level_0(point: str, step: int):
    dense, *levels = plan(**{"rewind.to": point, "training.epochs": 12})
    (replay,) = {level.origin for level in levels}
    assert replay is not None and (replay.first, replay.end, replay.parent, replay.is_dense) == (0, step, None, True)
    assert replay.key != dense.key and replay.span == dense.span
