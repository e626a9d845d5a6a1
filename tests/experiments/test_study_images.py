"""The images that a study's accuracies are of: test images, of one split or of a split per seed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lthrun.errors import UserError
from lthrun.events import ignore
from lthrun.experiments import load_config
from lthrun.experiments.run import prepare_run
from lthrun.storage.level_store import LevelStore
from tests.conftest import SMALL, run
from tests.data.samples import write_sides

pytestmark = pytest.mark.usefixtures("tiny_model")
TRAINING = {"training.evaluate_every": 2, "training.evaluate_images": None, "training.schedule": "cosine"}
STUDY = {"compare.seeds": 3, "compare.arms": ["dense", "ticket", "supermask"], "compare.sparsities": [40.0],
         "compare.rewind": "0ep", "compare.prune_rate": 40.0, **TRAINING}  # fmt: skip


def read_splits(run_dir: Path) -> dict[str, dict[str, list[str]]]:
    splits: dict[str, dict[str, list[str]]] = json.loads((run_dir / "split.json").read_text())["splits"]
    return splits


def test_a_study_holds_out_test_images_by_default():
    assert (load_config(None, "ticket").data.test, load_config(None, "compare").data.test) == (0, 20)
    data = load_config(None, "compare", options={"data.validation": 30.0}).data
    assert (data.validation, data.test) == (30, 20)
    assert load_config(None, "compare", options={"data.test": 0.0}).data.test == 0


def test_the_verdict_is_about_the_test_images(small: Callable, tmp_path: Path):
    config = small("compare", **STUDY)
    result, planned, store = run(config, tmp_path), prepare_run(config, ignore), LevelStore(tmp_path)
    summary: Any = result.summary
    cells = {cell.arm: cell for cell in summary.cells}
    for arm, cell in cells.items():
        records: list[Any] = [store.record(p.level.key) for p in planned.planned if p.group == arm]
        tests = [record["test"] for record in records]
        assert cell.test_accuracy.values == [test["last"]["accuracy"] for test in tests]
        assert cell.accuracy.values == [record["epochs"][-1]["accuracy"] for record in records]
        lines = [line for line in result.metrics if line["arm"] == arm and "test_accuracy" in line]
        assert [line["test_accuracy"] for line in lines] == cell.test_accuracy.values
        if arm == "supermask":
            assert cell.early_stop_test_accuracy is None
            continue
        assert cell.early_stop_test_accuracy.values == [test["early_stop"]["accuracy"] for test in tests]
        for record, test in zip(records, tests, strict=True):
            interim = [e for epoch in record["epochs"] for e in epoch["interim_evaluations"]]
            assert test["early_stop"]["step"] == min(interim, key=lambda e: e["loss"])["step"]
    pairs = zip(cells["ticket"].test_accuracy.values, cells["dense"].test_accuracy.values, strict=True)
    assert summary.comparisons[0].differences == pytest.approx([100 * (one - other) for one, other in pairs])
    (mask,) = [row for row in summary.comparisons if row.against == "majority rate"]
    counts = planned.context.test_counts
    assert (summary.n_train, summary.n_valid, summary.n_test) == (36, 12, 12) and sum(counts) == 12
    assert summary.majority_rate == max(counts) / 12
    shares = cells["supermask"].test_accuracy.values
    assert mask.differences == pytest.approx([100 * (share - summary.majority_rate) for share in shares])
    assert "on n = 12 test images is" in summary.verdict.reason and "all with one split" in summary.verdict.reason
    assert "on n = 12 test images, evaluated once" in summary.notes[1]


def test_a_run_lists_the_images_that_it_holds_out(small: Callable, images: Path, tmp_path: Path):
    result = run(small("baseline", **{"data.test": 10.0}), tmp_path)
    (sides,) = read_splits(result.run_dir).values()
    assert set(sides) == {"validation", "test"} and (len(sides["validation"]), len(sides["test"])) == (12, 6)
    held_out = {*sides["validation"], *sides["test"]}
    assert len(held_out) == 18 and all((images / "images" / name).is_file() for name in held_out)
    without = read_splits(run(small("baseline"), tmp_path).run_dir)
    assert without == {"42": {"validation": sides["validation"], "test": []}}


def test_each_seed_may_have_a_split_of_its_own(small: Callable, tmp_path: Path):
    config = small("compare", **STUDY, **{"compare.splits": "per-seed"})
    result = run(config, tmp_path)
    summary: Any = result.summary
    splits = read_splits(result.run_dir)
    assert list(splits) == ["42", "43", "44"] and len({tuple(sides["test"]) for sides in splits.values()}) == 3
    alone = run(small("baseline", seed=1, **TRAINING, **{"data.split_seed": 43, "data.test": 20.0}), tmp_path / "alone")
    assert read_splits(alone.run_dir) == {"43": splits["43"]}
    own = [line for line in result.metrics if (line["arm"], line["seed"]) == ("dense", 1)]
    for key in ("train_loss", "valid_loss", "accuracy", "interim_evaluations"):
        assert [line[key] for line in own] == [line[key] for line in alone.metrics]
    assert own[-1]["test_accuracy"] == alone.summary.test.accuracy
    assert own[-1]["early_stop_test_accuracy"] == alone.summary.early_stop_test.accuracy
    assert "3 seeds, each with a split of its own" in summary.verdict.reason
    assert summary.notes[0].startswith("Each seed has a split of its own (data.split_seed 42 to 44)")
    rates = [max(cats := sum(name[0].isupper() for name in sides["test"]), 12 - cats) / 12 for sides in splits.values()]
    (mask,) = [row for row in summary.comparisons if row.against == "majority rate"]
    shares = next(cell for cell in summary.cells if cell.arm == "supermask").test_accuracy.values
    assert mask.differences == pytest.approx([100 * (s - rate) for s, rate in zip(shares, rates, strict=True)])
    assert summary.majority_rate == pytest.approx(sum(rates) / 3)
    shared = run(small("compare", **STUDY), tmp_path)
    assert shared.run_dir != result.run_dir and shared.summary.levels.reused == 3 + 0, "those of the first seed"


def test_a_data_sets_own_test_images_are_those_of_every_seed(tmp_path: Path):
    options: dict[str, Any] = {**SMALL, **STUDY, "compare.splits": "per-seed", "data.dataset": "folder"}

    def context(**sides: int) -> Any:
        root = write_sides(tmp_path / "-".join(sides), **sides)
        return prepare_run(load_config(None, "compare", options={**options, "data.dir": str(root)}), ignore).context

    splits = list(context(train=20, test=5).splits.values())
    assert len(splits) == 3 and splits[0].test == splits[1].test == splits[2].test
    assert splits[0].valid != splits[1].valid
    with pytest.raises(UserError, match="compare.splits: found per-seed; nothing is drawn"):
        context(train=20, val=5, test=5)
