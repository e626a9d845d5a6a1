"""Arms: named ones, those that a config spells out, and what their levels are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

import lthrun as api
from lthrun.config.loading import dump
from lthrun.events import ignore
from lthrun.executors.tasks import RunOptions
from lthrun.executors.worker import LevelWorker
from lthrun.experiments import load_config
from lthrun.experiments.arm_settings import ARMS, AT_INIT, Arm
from lthrun.experiments.arms import plan_arms
from lthrun.experiments.compare import make_large_init_masks
from lthrun.experiments.connectivity import plan_reordered
from lthrun.experiments.study_config import CompareConfig
from lthrun.levels.keys import Conditions
from lthrun.levels.plan import Level
from lthrun.sparsity.criteria import CRITERIA
from lthrun.storage.level_store import LevelStore
from lthrun.training import state
from tests.conftest import prepare_levels, run

CONDITIONS = Conditions({"images": "x"}, 92, "cpu", "float32")
END_OF_EPOCHS = {"training.evaluate_every": None, "training.evaluate_images": None}
MOVEMENT = {"name": "movement", "criterion": "movement"}
SNIP = {"name": "snip", "criterion": "snip", "context": "global", "schedule": "one_shot"}


def study(*arms: Any, **settings: Any) -> CompareConfig:
    return load_config(None, "compare", options={"compare.arms": arms, **settings})  # type: ignore[return-value]


def levels(config: CompareConfig, arm: str, seed: int = 0) -> list[Level]:
    """The levels of an arm's results for one seed."""
    return [p.level for p in plan_arms(config, CONDITIONS) if (p.arm, p.seed) == (arm, seed)]


def keys(config: CompareConfig, arm: str) -> list[str]:
    return [level.key for level in levels(config, arm)]


@pytest.mark.parametrize("name", ARMS)
def test_an_arm_that_spells_out_the_settings_of_a_named_one_has_its_levels(name: str):
    config = study(name, {"name": "own", **ARMS[name].make.changes})
    assert keys(config, "own") == keys(config, name)


SCHEDULES = st.one_of(
    st.tuples(st.sampled_from(list(CRITERIA)), st.sampled_from(["chain", "one_shot"])),
    st.tuples(st.sampled_from(AT_INIT), st.just("at_init")),
)


@given(SCHEDULES, st.integers(0, 3))
def test_a_config_with_arms_loads_as_it_was_written(chosen: tuple[str, str], order: int):
    criterion, schedule = chosen
    own = {"name": "own", "schedule": schedule, "criterion": criterion, "order": order, "against": "ticket"}
    config = study("dense", "ticket", own)
    tree = yaml.safe_load(dump(config))
    assert tree["compare"]["arms"][:2] == ["dense", "ticket"]
    defaults = {"schedule": "chain", "order": 0}
    assert tree["compare"]["arms"][2] == {k: v for k, v in own.items() if defaults.get(k) != v}
    assert CompareConfig.model_validate(tree) == config


def test_an_arm_takes_what_it_leaves_out_from_the_study():
    config = study("ticket", SNIP, **{"pruning.criterion": "movement", "pruning.granularity": "kernel"})
    planned = {p.arm: p.config for p in plan_arms(config, CONDITIONS)}
    own, ticket = planned["snip"].mask_settings, planned["ticket"].mask_settings
    assert own and ticket
    assert (own.criterion, own.context, own.granularity) == ("snip", "global", "kernel")
    assert (ticket.criterion, ticket.context, ticket.granularity) == ("movement", "local", "kernel")
    for context, expected in (("local", "global"), ("global", "global")):  # snip's own, the study's own
        other = study("ticket", **{"pruning.context": context})
        assert other.ticket(0, Arm(name="own", criterion="snip")).pruning.context == expected
    assert study("ticket", **{"pruning.context": "global"}).ticket(0, Arm(**MOVEMENT)).pruning.context == "global"
    named = study("ticket", **{"pruning.criterion": "snip", "pruning.context": "global"})
    spelled = study({"name": "own", "criterion": "snip", "context": "global"})
    assert keys(named, "ticket") == keys(spelled, "own")


def test_schedules_say_when_an_arm_is_pruned():
    own = [{"name": f"by-{name}", "criterion": "snip", "schedule": name} for name in ("one_shot", "at_init", "gradual")]
    config = study("dense", "ticket", *own)
    dense = keys(config, "dense")
    assert [level.parent and level.parent.key for level in levels(config, "by-one_shot")] == 5 * dense
    for level, sparsity in zip(levels(config, "by-at_init"), config.compare.sparsities, strict=True):
        assert level.prunings == ((0, sparsity),) and level.needs == () and level.steps == 5 * 92
    assert all(len(level.prunings) == 10 for level in levels(config, "by-gradual"))


def test_an_arm_goes_back_to_a_rewind_point_of_its_own_and_trains_what_remains():
    config = study("dense", "ticket-rewind", {"name": "rewind-2", "rewind": "2ep"}, **{"compare.rewind": "3ep"})
    assert {level.first for level in levels(config, "rewind-2")} == {2 * 92}
    assert {level.first for level in levels(config, "ticket-rewind")} == {3 * 92}
    assert {level.end for arm in ("rewind-2", "ticket-rewind") for level in levels(config, arm)} == {5 * 92}
    assert config.rewind_points == ("3ep", "2ep")


def test_all_levels_of_an_arm_in_another_order_are_trained_in_it():
    config = study("dense", "ticket", {"name": "other-order", "order": 2})
    (dense,) = levels(config, "dense")
    for level, ticket in zip(levels(config, "other-order"), levels(config, "ticket"), strict=True):
        assert replace(level, key="", order=0, parent=None) == replace(ticket, key="", parent=None)
        while level.parent:
            assert level.order == 2 and level.key != ticket.key
            level = level.parent
        assert level == replace(plan_reordered(dense, 2, config.baseline(0), CONDITIONS), twin=None)  # type: ignore[arg-type]


def test_the_ticket_is_compared_with_its_rivals_and_the_others_with_dense():
    arms = study(*ARMS, SNIP, {"name": "rival", "against": "ticket"}, {"name": "late", "against": "one-shot"})
    pairs = {arm.name: arm.pair for arm in arms.compare.arms}
    assert pairs["random-mask"] == ("ticket", "random-mask") and pairs["rival"] == ("ticket", "rival")
    assert pairs["snip"] == ("snip", "dense") and pairs["late"] == ("late", "one-shot")
    assert pairs["supermask"] == ("supermask", "majority rate")


def test_two_studies_with_other_arms_have_other_directories():
    one, other = study("dense", SNIP), study("dense", {**SNIP, "context": "local"})
    assert one.identity_extras != other.identity_extras
    assert one.identity_extras == study("dense", {**SNIP, "order": 0}).identity_extras


def test_an_arm_without_a_description_is_described_by_its_settings():
    assert Arm(**SNIP).description == "The ticket with schedule: one_shot, criterion: snip, context: global."
    assert Arm(**SNIP, about="Lee et al.").description == "Lee et al."


@pytest.mark.usefixtures("tiny_model")
def test_arms_of_a_config_are_trained_and_reported_like_named_ones(small: Callable, tmp_path: Path):
    arms = ["dense", "ticket", "large-init", {**SNIP, "schedule": "at_init"}, {"name": "other-order", "order": 1}]
    settings = {"compare.seeds": 3, "compare.sparsities": [60.0], "compare.prune_rate": 60, "compare.rewind": "0ep"}
    config = small("compare", **settings, **{"compare.arms": arms}, **END_OF_EPOCHS)
    result = api.run(config, tmp_path, emit=ignore)
    summary = result.summary
    assert summary.arms == ["dense", "ticket", "large-init", "snip", "other-order"] and not summary.missing
    assert {cell.arm: cell.search_epochs for cell in summary.cells} == {
        "dense": 2, "ticket": 4, "large-init": 2, "snip": 2, "other-order": 4,
    }  # fmt: skip
    assert {(row.arm, row.against) for row in summary.comparisons} == {
        (arm, "dense") for arm in ("ticket", "large-init", "snip", "other-order")
    }
    assert {row.kind: row.pairs for row in summary.overlap} == {"large-init": 3, "orders": 3, "seeds": 3}
    assert all(0 < row.chance < 1 and row.lowest <= row.overlap <= row.highest for row in summary.overlap)
    assert "The ticket with order: 1." in (result.run_dir / "report.html").read_text("utf-8")


@pytest.mark.usefixtures("tiny_model")
def test_large_init_keeps_the_largest_initial_weights_of_each_layer(small: Callable, tmp_path: Path):
    settings = {"compare.seeds": 1, "compare.sparsities": [75.0], "compare.arms": ["large-init"]}
    config = small("compare", **settings, **{"compare.rewind": "0ep"}, **END_OF_EPOCHS)
    run(config, tmp_path)
    planned, builder = prepare_levels(config, tmp_path)
    masks = state.select_prefix("mask", LevelStore(tmp_path).read(planned.levels[0].key, "end"))
    initial = builder.states.initial()
    for name in builder.names:
        kept = initial[name].abs()[masks[name]]
        assert kept.numel() == masks[name].numel() - round(0.75 * masks[name].numel())
        assert kept.min() >= initial[name].abs()[~masks[name]].max()
    worker: Any = SimpleNamespace(config=config, worker=LevelWorker(RunOptions(tmp_path), context=planned.context))
    found = make_large_init_masks(worker, 0, 75.0)
    assert found.keys() == masks.keys() and all(torch.equal(found[name], masks[name]) for name in masks)
