"""Studies: their levels, their numbers beside those of the separate commands, and what happens when a part breaks."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lthrun.config.comparison import ALL, ladder
from lthrun.experiments.tasks import Task, graph

from lthrun.config import Compare
from lthrun.errors import UserError
from lthrun.experiments import load_config, run
from lthrun.experiments.arms import ARMS, pieces
from lthrun.levels.plan import Conditions
from lthrun.levels.trainer import Trainer

CONDITIONS = Conditions({"images": "x"}, 92, "cpu", "float32")
SPARSITIES = st.lists(st.floats(1, 99), min_size=1, max_size=4, unique=True).map(sorted).map(tuple)
TINY = {
    "compare.seeds": 3,
    "compare.sparsities": [40.0, 60.0],
    "compare.prune_rate": 40.0,
    "training.evaluate_every": 3,
    "training.evaluate_images": None,
}


def study(**settings: Any) -> Compare:
    return load_config(None, "compare", options=settings)  # type: ignore[return-value]


@given(SPARSITIES, st.floats(5, 90))
def test_a_ladder_meets_each_sparsity_and_prunes_prune_rate_its_share_of_what_remains(
    sparsities: Any, prune_rate: float
):
    found = ladder(sparsities, prune_rate)
    assert set(sparsities) <= set(found) and found[-1] == sparsities[-1]
    assert found == sorted(set(found))
    for before, after in zip([0.0, *found], found, strict=False):
        assert (after - before) / (100 - before) <= prune_rate / 100 + 1e-9


def test_frankles_ladder():
    """20 % of what remains each time: 20, 36, 48.8 …, where the targets lie on it."""
    assert ladder((48.8,), 20) == pytest.approx([20, 36, 48.8])
    assert ladder((50.0, 80.0), 20)[3] == 50.0 and len(ladder((50.0, 80.0), 20)) == 4 + 5


def test_each_level_of_a_study_is_one_task_after_what_it_needs():
    config = study()
    made = pieces(config, CONDITIONS)
    todo = graph(Task(p.config, p.level, "", CONDITIONS) for found in made.values() for p in found)
    keys = [task.key for task in todo]
    assert len(set(keys)) == len(keys)
    for place, task in enumerate(todo):
        assert set(task.needs) <= set(keys[:place])
    # per seed: level 0 and, of 22 prunings, the ticket's, the rewound ticket's and lr-rewind's levels; five each of
    # dense-budget, supermask, random-mask, random-init, one-shot and prune
    assert len(keys) == 5 * (1 + 3 * 22 + 6 * 5)


def test_arms_of_one_seed_share_level_0_and_their_chains():
    made = pieces(study(), CONDITIONS)
    (dense,) = made["dense", 0]
    by_arm = {arm: {p.sparsity: p.level for p in made[arm, 0]} for arm in ALL if arm != "dense"}
    for arm in ("ticket", "ticket-rewind", "lr-rewind"):
        first = by_arm[arm][50.0]
        while first.parent:
            first = first.parent
        assert first.key == dense.level.key, arm
    for sparsity in (50.0, 98.0):
        own = by_arm["ticket"][sparsity]
        for arm in ("supermask", "random-mask", "random-init"):
            assert by_arm[arm][sparsity].parent is not None
            assert by_arm[arm][sparsity].parent.key == own.parent.key
        assert by_arm["dense-budget"][sparsity].steps == own.steps * (own.index + 1)
        assert by_arm["ticket-rewind"][sparsity].end == dense.level.end == own.end
    assert all(set(found) == {50.0, 80.0, 90.0, 95.0, 98.0} for found in by_arm.values())
    assert {level.key for level in by_arm["ticket"].values()}.isdisjoint(p.level.key for p in made["ticket", 1])


def test_arms_are_listed_once():
    assert tuple(ARMS) == ALL


def read_events(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "events.jsonl").read_text().splitlines()]


@pytest.mark.usefixtures("tiny_model")
def test_levels_are_trained_once_and_their_numbers_are_those_of_the_separate_commands(small: Callable, tmp_path: Path):
    arms = ["dense", "ticket", "ticket-rewind", "supermask"]
    config = small("compare", **{**TINY, "compare.arms": arms, "training.epochs": 2})
    result = run(config, tmp_path / "together")
    done = [event for event in read_events(result.run_dir) if event["event"] == "task"]
    assert max(Counter(event["key"] for event in done).values()) == 1 and not any(e["reused"] for e in done)
    steps = len(ladder((40.0, 60.0), 40))
    assert len(done) == 3 * (1 + 2 * steps + 2) == result.summary["levels"]["trained"]
    assert {path.name for path in (tmp_path / "together" / "levels").iterdir() if path.is_dir()} == {
        event["key"] for event in done
    }
    by = {(line["arm"], line["seed"], line["sparsity"], line["level_epoch"]): line for line in result.metrics}
    shared = {
        **{key: TINY[key] for key in ("training.evaluate_every", "training.evaluate_images")},
        "training.schedule": "cosine",
        "pruning.schedule": "custom",
        "pruning.sparsities": ladder((40.0, 60.0), 40),
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
            for key in ("train_loss", "valid_loss", "accuracy", "balanced_accuracy", "looks"):
                assert own[key] == line[key], (arm, key)
    mask = run(small("supermask", **shared, seed=1), tmp_path / "ticket").summary["supermask"]
    assert by["supermask", 1, 60.0, 0]["accuracy"] == mask["accuracy"]
    again = run(config, tmp_path / "together")
    assert again.summary == result.summary and again.metrics == result.metrics


@pytest.mark.usefixtures("tiny_model")
def test_a_study_reports_the_arms_that_are_whole_and_says_what_is_missing(
    small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    settings = {**TINY, "compare.arms": ["dense", "ticket", "random-mask", "prune"], "compare.sparsities": [40.0]}
    config = small("compare", **settings)
    whole, plain = run(config, tmp_path / "whole"), Trainer.train

    def breaks(self: Trainer) -> dict[str, Any]:
        if self.config.seed == 1 and self.level.index == 1 and not self.level.control:
            raise UserError("training.learning_rate: the loss is no longer a number")
        return plain(self)

    monkeypatch.setattr(Trainer, "train", breaks)
    broken = run(config, tmp_path / "broken")
    missing = {(m["arm"], m["seed"], m["sparsity"]) for m in broken.summary["missing"]}
    assert missing == {("ticket", 1, 40.0)}, "its control needs the dense network alone"
    assert "no longer a number" in broken.summary["missing"][0]["why"]
    cells = {(c["arm"], c["sparsity"]): c["n"] for c in broken.summary["cells"]}
    assert cells == {("dense", None): 3, ("ticket", 40.0): 2, ("random-mask", 40.0): 3, ("prune", 40.0): 3}
    assert broken.summary["verdict"]["word"] is None and "2 seeds" in broken.summary["verdict"]["answer"]
    by_rival = {(c["arm"], c["against"]): c["n"] for c in broken.summary["comparisons"]}
    assert by_rival["prune", "dense"] == 3 and by_rival["ticket", "random-mask"] == 2
    monkeypatch.setattr(Trainer, "train", plain)
    mended = run(config, tmp_path / "broken")
    assert mended.summary["levels"] == {"trained": 1, "taken_over": 9 + 2, "failed": 0}
    assert mended.summary["comparisons"] == whole.summary["comparisons"]


@pytest.mark.usefixtures("tiny_model")
def test_what_needs_a_failed_level_is_missing_too(small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    settings = {**TINY, "compare.arms": ["dense", "ticket"], "compare.sparsities": [40.0, 60.0]}

    def breaks(self: Trainer) -> dict[str, Any]:
        if self.config.seed == 0 and self.level.index == 0:
            raise RuntimeError("a fault of ours\nin two lines")
        return plain(self)

    plain = Trainer.train
    monkeypatch.setattr(Trainer, "train", breaks)
    found = run(small("compare", **settings), tmp_path).summary
    assert {(m["arm"], m["seed"], m["sparsity"]) for m in found["missing"]} == {
        ("dense", 0, None), ("ticket", 0, 40.0), ("ticket", 0, 60.0),
    }  # fmt: skip
    assert found["missing"][0]["why"] == "RuntimeError: a fault of ours\\nin two lines"
    assert found["missing"][1]["why"].startswith("it needs dense, seed 0, which failed: RuntimeError")


@pytest.mark.usefixtures("tiny_model")
def test_the_command_gives_a_verdict_or_says_why_there_is_none(lthrun: Callable, images: Path):
    small = ("--set", "data.image_size=16", "--set", "training.batch_size=8", "--epochs", "1", "--data-dir", images)
    arguments = ("compare", *small, "--set", "compare.rewind=0ep", "--arms", "dense,ticket", "--sparsities", "20")
    two = lthrun(*arguments, "--seeds", "2", "--json")
    summary = json.loads(two.out)
    assert two.status == 0 and summary["verdict"]["word"] is None
    assert "2 seeds" in summary["verdict"]["answer"] and "No verdict" in summary["verdict"]["answer"]
    three = lthrun(*arguments, "--seeds", "3", "--json")
    found = json.loads(three.out)
    assert found["verdict"]["word"] in ("wins", "matches", "loses", "undecided")
    assert found["verdict"]["winning_ticket"] is not True, "the controls are not compared"
    assert found["levels"] == {"trained": 2, "taken_over": 4, "failed": 0}
    again = lthrun("resume", found["run_dir"], "--json")
    assert again.status == 0 and json.loads(again.out)["cells"] == found["cells"]
    assert all(not Path(line).is_absolute() for line in [found["run_dir"]])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--arms", "dense,tickets"],
            "compare.arms: found ['dense', 'tickets']; there is no arm tickets; must be among",
        ),
        (["--arms", "dense,dense"], "an arm stands twice"),
        (["--sparsities", "80,50"], "compare.sparsities: found [80.0, 50.0]; must rise"),
        (["--sparsities", "50,x"], "--sparsities: found '50,x'; must be a list like 50,80,90"),
        (["--sparsities", "0.5"], "sparsity is in percent, so write 50"),
        (["--sparsities", "0"], "above 0 and below 100"),
        (["--seeds", "0"], "compare.seeds: found 0"),
        (["--set", "training.schedule=constant"], "compare.arms: found lr-rewind; at a constant learning rate"),
        (["--set", "compare.rewind=5ep"], "compare.rewind: found 5ep; must lie before the end of level 0"),
        (["--set", "pruning.granularity=2:4"], "pruning.granularity: found 2:4; it has one sparsity only"),
        (["--set", "pruning.sparsity=50"], "pruning.sparsity: unknown key"),
        (["--set", "compare.prune_rate=0.001", "--sparsities", "99"], "compare.prune_rate: found 0.001"),
        (
            ["--sparsities", "1.5", "--set", "compare.prune_rate=1"],
            "compare.prune_rate: found 1; the first level would prune 0.75 %",
        ),
        (["--engine", "steam"], "--engine: found steam; must be one of local"),
        (["--seed", str(2**63 - 1)], "seed: found"),
    ],
)
def test_bad_studies_are_refused_in_one_line(lthrun: Callable, arguments: list[str], said: str):
    found = lthrun("compare", *arguments)
    assert found.status == 2 and said in found.err and found.err.count("\n") == 1, found.err


@pytest.mark.usefixtures("tiny_model")
def test_a_study_ends_in_its_page_and_the_same_page_is_drawn_again(small: Callable, lthrun: Callable, tmp_path: Path):
    settings = {**TINY, "compare.arms": ["dense", "ticket"], "compare.sparsities": [40.0]}
    run_dir = run(small("compare", **settings), tmp_path).run_dir
    page = (run_dir / "report.html").read_bytes()
    (run_dir / "report.html").unlink()
    assert lthrun("report", run_dir, "--quiet").status == 0
    assert (run_dir / "report.html").read_bytes() == page
    summary = json.loads((run_dir / "summary.json").read_text())
    assert summary["verdict"]["answer"].split(":")[0] in page.decode().replace("\u00a0", " ").replace("&nbsp;", " ")
