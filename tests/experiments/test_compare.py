"""Studies: their levels, their numbers beside those of the separate commands, and what they report of a failure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lthrun as api
from lthrun.errors import UserError
from lthrun.events import ignore
from lthrun.executors.tasks import LevelTask, complete_graph
from lthrun.experiments import load_config
from lthrun.experiments.arm_settings import ARMS
from lthrun.experiments.arms import PlannedArmResult, plan_arms
from lthrun.experiments.run import prepare_run
from lthrun.experiments.study_config import CompareConfig, plan_sparsities
from lthrun.experiments.summaries import LevelCounts
from lthrun.levels.keys import Conditions
from lthrun.levels.trainer import LevelTrainer
from lthrun.records import LevelRecord
from lthrun.storage.level_store import LevelStore
from tests.conftest import SMALL_SETS, read_events, run

CONDITIONS = Conditions({"images": "x"}, 92, "cpu", "float32")
SPARSITIES = st.lists(st.floats(1, 99), min_size=1, max_size=4, unique=True).map(sorted).map(tuple)
TINY = {
    "compare.seeds": 3,
    "compare.sparsities": [40.0, 60.0],
    "compare.prune_rate": 40.0,
    "training.evaluate_every": 3,
    "training.evaluate_images": None,
}


def study(**settings: Any) -> CompareConfig:
    return load_config(None, "compare", options=settings)  # type: ignore[return-value]


def select_results(planned: list[PlannedArmResult], arm: str, seed: int) -> list[PlannedArmResult]:
    return [result for result in planned if (result.arm, result.seed) == (arm, seed)]


@given(SPARSITIES, st.floats(5, 90))
def test_levels_meet_each_sparsity_and_prune_at_most_prune_rate_of_what_remains(sparsities: Any, prune_rate: float):
    levels = plan_sparsities(sparsities, prune_rate)
    assert set(sparsities) <= set(levels) and levels[-1] == sparsities[-1]
    assert levels == sorted(set(levels))
    for before, after in zip([0.0, *levels], levels, strict=False):
        assert (after - before) / (100 - before) <= prune_rate / 100 + 1e-9


def test_the_levels_are_those_of_frankle():
    """20 % of what remains each time: 20, 36, 48.8 …, where the targets lie on it."""
    assert plan_sparsities((48.8,), 20) == pytest.approx([20, 36, 48.8])
    assert plan_sparsities((50.0, 80.0), 20)[3] == 50.0 and len(plan_sparsities((50.0, 80.0), 20)) == 4 + 5


def test_each_level_of_a_study_is_one_task_after_what_it_needs():
    tasks = complete_graph(LevelTask(p.config, p.level, p.about, CONDITIONS) for p in plan_arms(study(), CONDITIONS))
    keys = [task.key for task in tasks]
    assert len(set(keys)) == len(keys)
    for place, task in enumerate(tasks):
        assert set(task.needs) <= set(keys[:place])
    # per seed: level 0 and, of 22 prunings, the ticket's, the rewound ticket's and lr-rewind's levels; five each of
    # dense-budget, supermask, random-mask, random-init, large-init, one-shot and prune
    assert len(keys) == 5 * (1 + 3 * 22 + 7 * 5)


def test_arms_of_one_seed_share_level_0_and_their_chains():
    planned = plan_arms(study(), CONDITIONS)
    (dense,) = select_results(planned, "dense", 0)
    by_arm = {arm: {p.sparsity: p.level for p in select_results(planned, arm, 0)} for arm in ARMS if arm != "dense"}
    for arm in ("ticket", "ticket-rewind", "lr-rewind"):
        first = by_arm[arm][50.0]
        while first.parent:
            first = first.parent
        assert first.key == dense.level.key, arm
    for sparsity in (50.0, 98.0):
        own = by_arm["ticket"][sparsity]
        for arm in ("supermask", "random-mask", "random-init"):
            parent = by_arm[arm][sparsity].parent
            assert parent is not None and own.parent is not None and parent.key == own.parent.key
        assert by_arm["dense-budget"][sparsity].steps == own.steps * (own.index + 1)
        assert by_arm["ticket-rewind"][sparsity].end == dense.level.end == own.end
    assert all(set(levels) == {50.0, 80.0, 90.0, 95.0, 98.0} for levels in by_arm.values())
    other_seed = {p.level.key for p in select_results(planned, "ticket", 1)}
    assert {level.key for level in by_arm["ticket"].values()}.isdisjoint(other_seed)


def test_a_study_compares_every_arm_by_default():
    assert study().compare.names == tuple(ARMS)


@pytest.mark.usefixtures("tiny_model")
def test_levels_are_trained_once_and_their_numbers_are_those_of_the_separate_commands(small: Callable, tmp_path: Path):
    arms = ["dense", "ticket", "ticket-rewind", "supermask"]
    config = small("compare", **{**TINY, "compare.arms": arms, "training.epochs": 2})
    result = run(config, tmp_path / "together")
    finished = read_events(result.run_dir, "level_finished")
    assert max(Counter(event["key"] for event in finished).values()) == 1
    assert not any(event["is_reused"] for event in finished)
    sparsities = plan_sparsities((40.0, 60.0), 40)
    assert len(finished) == 3 * (1 + 2 * len(sparsities) + 2) == result.summary.levels.trained
    assert {path.name for path in (tmp_path / "together" / "levels").iterdir() if path.is_dir()} == {
        event["key"] for event in finished
    }
    by = {(line["arm"], line["seed"], line["sparsity"], line["level_epoch"]): line for line in result.metrics}
    shared = {
        **{key: TINY[key] for key in ("training.evaluate_every", "training.evaluate_images")},
        "training.schedule": "cosine",
        "data.test": 20.0,
        "pruning.schedule": "custom",
        "pruning.sparsities": sparsities,
    }
    baseline = {key: value for key, value in shared.items() if not key.startswith("pruning")}
    alone = {
        "dense": run(small("baseline", **baseline, seed=1), tmp_path / "dense"),
        "ticket": run(small("ticket", **shared, seed=1), tmp_path / "ticket"),
        "ticket-rewind": run(
            small("ticket", **shared, seed=1, **{"rewind.to": "1ep", "rewind.train": "remaining"}), tmp_path / "rewind"
        ),
    }
    for arm, other in alone.items():
        sparsity = None if arm == "dense" else 60.0
        last = [line for line in other.metrics if line["level"] == other.metrics[-1]["level"]]
        for line in last:
            own = by[arm, 1, sparsity, line["level_epoch"]]
            for key in ("train_loss", "valid_loss", "accuracy", "balanced_accuracy", "interim_evaluations"):
                assert own[key] == line[key], (arm, key)
            for key in ("test_accuracy", "test_balanced_accuracy", "early_stop_test_accuracy"):
                assert own.get(key) == line.get(key) and (key in own) == (line is last[-1]), (arm, key)
    mask = run(small("supermask", **shared, seed=1), tmp_path / "ticket").summary.supermask
    assert by["supermask", 1, 60.0, 0]["accuracy"] == mask.accuracy
    again = run(config, tmp_path / "together")
    assert again.summary == result.summary and again.metrics == result.metrics


@pytest.mark.usefixtures("tiny_model")
def test_rates_hold_in_every_arm_that_prunes(small: Callable, tmp_path: Path):
    arms = ["dense", "ticket", "supermask", "random-mask", "random-init", "one-shot", "prune"]
    settings = {"compare.arms": arms, "compare.seeds": 1, "compare.sparsities": [75.0], "compare.prune_rate": 50.0}
    rates = {"compare.rewind": "0ep", "pruning.classifier": True, "pruning.rates": {"8": 0.5}}
    result = run(small("compare", **settings, **rates, **{"training.epochs": 1}), tmp_path)
    planned, levels = prepare_run(load_config(result.run_dir / "config.yaml"), ignore).planned, LevelStore(tmp_path)
    pruned = {
        p.arm: LevelRecord.from_dict(levels.record(p.level.key)).layers["8.weight"][0] for p in planned if p.sparsity
    }
    # Two levels of 50 % leave 0.75 · 0.75 of the 16; one level of 75 % leaves 0.625.
    assert {arm: count for arm, count in pruned.items() if arm != "prune"} == {
        **dict.fromkeys(arms[1:5], 7), "one-shot": 6,
    }  # fmt: skip
    assert 0 < pruned["prune"] < 12


@pytest.mark.usefixtures("tiny_model")
def test_a_study_reports_the_complete_arms_and_says_what_is_missing(
    small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    settings = {**TINY, "compare.arms": ["dense", "ticket", "random-mask", "prune"], "compare.sparsities": [40.0]}
    config = small("compare", **settings)
    whole, train = run(config, tmp_path / "whole").summary, LevelTrainer.train

    def train_or_fail(self: LevelTrainer) -> LevelRecord:
        if self.config.seed == 1 and self.level.index == 1 and not self.level.control:
            raise UserError("training.learning_rate: the loss became NaN")
        return train(self)

    monkeypatch.setattr(LevelTrainer, "train", train_or_fail)
    broken = run(config, tmp_path / "broken").summary
    assert [(m.arm, m.seed, m.sparsity) for m in broken.missing] == [("ticket", 1, 40.0)], "its control needs level 0"
    assert broken.missing[0].reason == "training.learning_rate: the loss became NaN"
    cells = {(c.arm, c.sparsity): c.n for c in broken.cells}
    assert cells == {("dense", None): 3, ("ticket", 40.0): 2, ("random-mask", 40.0): 3, ("prune", 40.0): 3}
    assert broken.verdict.word is None and "2 seeds" in broken.verdict.answer
    by_rival = {(c.arm, c.against): c.n for c in broken.comparisons}
    assert by_rival["prune", "dense"] == 3 and by_rival["ticket", "random-mask"] == 2
    monkeypatch.setattr(LevelTrainer, "train", train)
    repaired = run(config, tmp_path / "broken").summary
    assert repaired.levels == LevelCounts(trained=1, reused=9 + 2, failed=0)
    assert repaired.missing == [] and repaired.comparisons == whole.comparisons


@pytest.mark.usefixtures("tiny_model")
def test_what_needs_a_failed_level_is_missing_too(small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    settings = {**TINY, "compare.arms": ["dense", "ticket"], "compare.sparsities": [40.0, 60.0]}
    train = LevelTrainer.train

    def train_or_fail(self: LevelTrainer) -> LevelRecord:
        if self.config.seed == 0 and self.level.index == 0:
            raise RuntimeError("an internal error\nin two lines")
        return train(self)

    monkeypatch.setattr(LevelTrainer, "train", train_or_fail)
    missing = run(small("compare", **settings), tmp_path).summary.missing
    assert {(m.arm, m.seed, m.sparsity) for m in missing} == {
        ("dense", 0, None), ("ticket", 0, 40.0), ("ticket", 0, 60.0),
    }  # fmt: skip
    assert missing[0].reason == "RuntimeError: an internal error\\nin two lines"
    assert missing[1].reason.startswith("it needs dense, seed 0, which failed: RuntimeError")


@pytest.mark.usefixtures("tiny_model")
def test_the_command_reports_a_verdict_or_why_there_is_none(lthrun: Callable, images: Path):
    arguments = (
        "compare",
        *SMALL_SETS,
        "--epochs",
        "1",
        "--data-dir",
        images,
        "--set",
        "compare.rewind=0ep",
        "--arms",
        "dense,ticket",
        "--sparsities",
        "20",
    )
    two = lthrun(*arguments, "--seeds", "2", "--json")
    summary = json.loads(two.out)
    assert two.status == 0 and summary["verdict"]["word"] is None
    assert summary["verdict"]["answer"] == "No verdict: 2 seeds have results for ticket and dense, and 3 are needed."
    three = lthrun(*arguments, "--seeds", "3", "--json")
    summary = json.loads(three.out)
    assert three.status == 0 and summary["verdict"]["word"] in ("wins", "matches", "loses", "undecided")
    assert summary["verdict"]["winning_ticket"] is not True, "the controls are not compared"
    assert summary["levels"] == {"trained": 2, "reused": 4, "failed": 0}
    again = lthrun("resume", summary["run_dir"], "--json")
    assert again.status == 0 and json.loads(again.out)["cells"] == summary["cells"]
    assert not Path(summary["run_dir"]).is_absolute()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--arms", "dense,tickets"],
            "compare.arms.1: found 'tickets'; must be one of dense, dense-budget, ticket, ticket-rewind, supermask, "
            "random-mask, random-init, large-init, one-shot, prune, lr-rewind, or a mapping like {name: snip, criterion: "
            "snip} (did you mean ticket?)",
        ),
        (["--arms", "dense,{name: dense, criterion: snip}"], "compare.arms.1.name: found dense; an arm of that name"),
        (["--set", "compare.primary=60"], "compare.primary: found 60"),
        (["--arms", "dense,dense"], "compare.arms: found ['dense', 'dense']; two arms are named dense"),
        (["--sparsities", "80,50"], "compare.sparsities: found [80.0, 50.0]; must rise"),
        (["--sparsities", "50,x"], "compare.sparsities.1: found 'x'; must be a valid number"),
        (["--sparsities", "0.5"], "sparsity is in percent, so write 50"),
        (["--sparsities", "0"], "above 0 and below 100"),
        (["--seeds", "0"], "compare.seeds: found 0"),
        (
            ["--set", "training.schedule=constant"],
            "compare.arms: found lr-rewind; a constant learning rate cannot be rewound",
        ),
        (["--set", "compare.rewind=5ep"], "compare.rewind: found 5ep; must lie before the end of level 0"),
        (["--set", "pruning.granularity=2:4"], "pruning.granularity: found 2:4; it has one sparsity only"),
        (["--set", "pruning.sparsity=50"], "pruning.sparsity: unknown key"),
        (["--set", "compare.prune_rate=0.001", "--sparsities", "99"], "compare.prune_rate: found 0.001"),
        (
            ["--sparsities", "1.5", "--set", "compare.prune_rate=1"],
            "compare.prune_rate: found 1; the first level would prune 0.75 %",
        ),
        (["--executor", "steam"], "--executor: found steam; must be one of local"),
        (["--seed", str(2**63 - 1)], "seed: found"),
    ],
)
def test_bad_studies_are_refused_in_one_line(lthrun: Callable, arguments: list[str], message: str):
    outcome = lthrun("compare", *arguments)
    assert outcome.status == 2 and message in outcome.err and outcome.err.count("\n") == 1, outcome.err


@pytest.mark.usefixtures("tiny_model")
def test_a_study_ends_in_its_page_and_the_same_page_is_drawn_again(small: Callable, lthrun: Callable, tmp_path: Path):
    settings = {**TINY, "compare.arms": ["dense", "ticket"], "compare.sparsities": [40.0]}
    result = api.run(small("compare", **settings), tmp_path, emit=ignore)
    page = (result.run_dir / "report.html").read_bytes()
    (result.run_dir / "report.html").unlink()
    assert lthrun("report", result.run_dir, "--quiet").status == 0
    assert (result.run_dir / "report.html").read_bytes() == page
    answer = result.summary.verdict.answer
    assert answer.split(":")[0] in page.decode().replace("\u00a0", " ").replace("&nbsp;", " ")
