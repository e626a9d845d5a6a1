"""Names of levels, and their clocks."""

from __future__ import annotations

from typing import Any

import pytest

from lthrun.experiments import load_config
from lthrun.levels.plan import Conditions, Level, chain, dense, replays

CONDITIONS = Conditions({"images": "x"}, 92, "cpu", "float32")


def levels(conditions: Conditions = CONDITIONS, **settings: Any) -> list[Level]:
    return chain(load_config(None, "ticket", options=settings), conditions)  # type: ignore[arg-type]


def test_the_default_ticket_is_four_levels_of_five_epochs():
    made = levels()
    assert [level.sparsity for level in made] == pytest.approx([0, 50 / 3, 100 / 3, 50])
    assert [(level.first, level.end) for level in made] == [(0, 460)] * 4


def test_rewinding_sets_the_clock_back_to_the_rewind_point():
    assert [(level.first, level.end) for level in levels(**{"rewind.to": "1ep"})] == [(0, 460)] + [(92, 552)] * 3
    made = levels(**{"rewind.to": "200it", "rewind.train": "remaining"})
    assert [(level.first, level.end) for level in made] == [(0, 460)] + [(200, 460)] * 3


def test_under_fasterai_the_clock_goes_on():
    made = levels(**{"pruning.protocol": "fasterai", "rewind.to": "1ep"})
    assert [(level.first, level.end) for level in made] == [(0, 460), (460, 920), (920, 1380), (1380, 1840)]
    assert all(level.continues for level in made[1:])


def test_level_0_is_the_baseline_whatever_comes_after():
    baseline = dense(load_config(None, "baseline"), CONDITIONS).key
    for settings in (
        {},
        {"rewind.to": "1ep"},
        {"pruning.protocol": "fasterai"},
        {"pruning.sparsity": 90, "pruning.steps": 1, "pruning.context": "global"},
    ):
        made = levels(**settings)
        assert made[0].key == baseline
        assert made[1].key != levels()[1].key or not settings


def test_levels_of_one_chain_are_shared_by_a_longer_one():
    short, long = levels(**{"pruning.sparsity": 20, "pruning.steps": 2}), levels(**{"pruning.sparsity": 30})
    assert [level.key for level in short] == [level.key for level in long][:3]


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
def test_what_determines_the_numbers_is_in_every_name(key: str):
    assert not {level.key for level in levels()} & {level.key for level in levels(**{key: SETTINGS[key]})}


@pytest.mark.parametrize("key", FROM_LEVEL_1)
def test_how_it_is_pruned_and_rewound_is_in_the_names_from_level_1(key: str):
    plain, other = levels(), levels(**{key: FROM_LEVEL_1[key]})
    assert plain[0].key == other[0].key
    assert not {level.key for level in plain[1:]} & {level.key for level in other[1:]}


@pytest.mark.parametrize(
    "conditions",
    [
        Conditions({"images": "y"}, 92, "cpu", "float32"),
        Conditions({"images": "x"}, 92, "cuda", "float32"),
        Conditions({"images": "x"}, 92, "cpu", "bfloat16"),
    ],
)
def test_images_device_and_precision_are_in_every_name(conditions: Conditions):
    assert not {level.key for level in levels()} & {level.key for level in levels(conditions)}


def test_where_data_and_results_lie_is_in_no_name():
    assert [a.key for a in levels()] == [b.key for b in levels(**{"data.dir": "/elsewhere", "device": "cpu"})]


def test_a_rewind_point_that_level_0_does_not_keep_is_reached_by_a_replay():
    assert replays(levels(**{"rewind.to": "1ep"})) == [] == replays(levels())
    (replay,) = replays(levels(**{"rewind.to": "200it"}))
    assert (replay.first, replay.end, replay.parent) == (0, 200, None)
    (late,) = replays(levels(**{"rewind.to": "11ep", "training.epochs": 12}))
    assert late.end == 11 * 92
    assert replays(levels(**{"rewind.to": "10ep", "training.epochs": 12})) == []
    assert replays(levels(**{"rewind.to": "92it"})) == [], "a whole epoch, however it is written"
