"""Whole runs on a tiny model: masks, rewinding, sharing, resuming, and that equal settings give equal numbers."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import lthrun
from lthrun.experiments import Result, run
from lthrun.levels.builder import LevelBuilder
from lthrun.levels.context import prepare
from lthrun.levels.plan import Conditions, chain
from lthrun.models import build_model
from lthrun.sparsity.masks import Tensors
from lthrun.storage.json_files import read_json, write_json
from lthrun.storage.level_store import LevelStore
from lthrun.storage.tensor_files import read_tensors
from lthrun.training.engine import Engine
from tests.conftest import LAYOUT

pytestmark = pytest.mark.usefixtures("tiny_model")
LAYERS = {"0.weight": 108, "3.weight": 288}
# What may differ between two undisturbed runs: of a record, and of a summary.
TIMES = {"seconds", "images_per_second", "time"}
OWN = {"seconds", "run_dir", "blake2b"}


def events(result: Result, kind: str) -> list[dict[str, Any]]:
    lines = (result.run_dir / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def ignore(kind: str, **facts: Any) -> None:
    pass


def builder(config: Any, out: Path) -> LevelBuilder:
    return LevelBuilder(prepare(config, ignore), LevelStore(out), ignore)


def timeless(result: Result) -> list[dict[str, Any]]:
    return [{k: v for k, v in record.items() if k not in TIMES} for record in result.metrics]


def level_state(out: Path, result: Result, level: int, name: str = "end") -> tuple[Tensors, Tensors]:
    """Model and masks in a file of the run's level."""
    tensors = LevelStore(out).read(result.summary["levels"][level]["key"], name)
    return tuple(
        {n.removeprefix(part): t for n, t in tensors.items() if n.startswith(part)} for part in ("model/", "mask/")
    )  # type: ignore[return-value]


def test_sparsity_is_the_rounded_target_in_every_level_and_layer(small: Callable, tmp_path: Path):
    result = run(small("ticket", **{"pruning.sparsity": 70}), tmp_path)
    for k, level in enumerate(result.summary["levels"]):
        removed = {name: round(70 * k / 3 / 100 * n) for name, n in LAYERS.items()}
        assert level["layers"] == {name: [removed[name], n] for name, n in LAYERS.items()}
        weights, masks = level_state(tmp_path, result, k)
        for name in LAYERS:
            assert int((weights[name] == 0).sum()) == removed[name]
            if k:
                assert not weights[name][~masks[name]].any()
        measured = 100 * sum(removed.values()) / sum(LAYERS.values())
        assert level["sparsity"] == pytest.approx(measured)
        for record in result.metrics[2 * k : 2 * k + 2]:
            assert record["level"] == k and record["sparsity"] == pytest.approx(measured)


def test_levels_are_pruned_among_the_survivors_of_the_one_before_by_trained_magnitude(small: Callable, tmp_path: Path):
    result = run(small("ticket"), tmp_path)
    for k in (1, 2, 3):
        parent, before = level_state(tmp_path, result, k - 1)
        _, masks = level_state(tmp_path, result, k)
        for name, n in LAYERS.items():
            alive = before.get(name, torch.ones_like(masks[name]))
            assert not (masks[name] & ~alive).any()
            kept, dropped = parent[name][masks[name]].abs(), parent[name][alive & ~masks[name]].abs()
            assert dropped.max() <= kept.min()
            assert int((~masks[name]).sum()) == round(50 * k / 3 / 100 * n)


@pytest.mark.parametrize("rewind", ["0ep", "1ep", "3it"])
def test_parameters_and_buffers_go_back_to_the_rewind_point_to_the_bit(small: Callable, tmp_path: Path, rewind: str):
    config = small("ticket", **{"rewind.to": rewind})
    result = run(config, tmp_path)
    ticket = lthrun.load_ticket(result.run_dir / "ticket.safetensors")
    if rewind == "0ep":
        back = build_model("resnet18", 2, 0).state_dict()
    elif rewind == "1ep":
        back, _ = level_state(tmp_path, result, 0, "epoch-1")
        one_epoch = run(small("baseline", **{"training.epochs": 1}), tmp_path / "other")
        assert all(
            torch.equal(value, back[name]) for name, value in level_state(tmp_path / "other", one_epoch, 0)[0].items()
        )
    else:
        plain = Engine(build_model("resnet18", 2, 0), config.training, torch.device("cpu"), "float32", {})
        plain.model.train()
        batches = builder(config, tmp_path).batches
        for step in range(3):
            plain.step(batches.training_batch(step))
        back = plain.model.state_dict()
    for name, value in back.items():
        kept = ticket.masks.get(name, torch.ones_like(value, dtype=torch.bool))
        assert torch.equal(ticket.state[name][kept], value[kept]), name
        assert not ticket.state[name][~kept].any()
    assert any("running_mean" in name for name in back)
    assert ticket.metadata["rewind_point"] == rewind and ticket.metadata["protocol"] == "frankle"
    assert float(ticket.metadata["sparsity"]) == ticket.sparsity == pytest.approx(result.summary["sparsity"])


def test_a_level_is_the_training_of_its_start_state_on_the_batches_of_its_clock(small: Callable, tmp_path: Path):
    """The last level, trained again by a plain loop from the ticket alone, ends in the same weights."""
    config = small("ticket", **{"rewind.to": "1ep"})
    result = run(config, tmp_path)
    ticket = lthrun.load_ticket(result.run_dir / "ticket.safetensors")
    batches = builder(config, tmp_path).batches
    model = build_model("resnet18", 2, 99).to(memory_format=LAYOUT)
    ticket.apply(model)
    weights = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW(
        [{"params": weights, "weight_decay": 0.01}, {"params": others, "weight_decay": 0}],
        lr=1e-3, betas=(0.9, 0.99), eps=1e-5, fused=True,
    )  # fmt: skip
    ticket.hold(model, optimizer)
    model.train()
    for step in range(batches.epoch_steps, 3 * batches.epoch_steps):
        images, labels = batches.training_batch(step)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images.contiguous(memory_format=LAYOUT)), labels).backward()
        optimizer.step()
    trained = read_tensors(result.run_dir / "model.safetensors")[0]
    for name, value in model.state_dict().items():
        assert torch.equal(value, trained[name]), name


def test_two_arms_with_one_seed_see_the_same_batches(small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seen: list[float] = []
    step = Engine.step
    monkeypatch.setattr(
        Engine, "step", lambda self, batch, rate: (seen.append(float(batch[0].sum())), step(self, batch, rate))[1]
    )
    run(small("ticket", **{"pruning.steps": 1}), tmp_path / "a")
    half = len(seen) // 2
    assert seen[:half] == seen[half:], "level 1 sees the batches of level 0"
    first, seen[:] = list(seen), []
    run(small("ticket", **{"pruning.steps": 1, "pruning.criterion": "random", "pruning.sparsity": 90}), tmp_path / "b")
    assert seen == first, "whatever the mask"
    seen.clear()
    run(small("ticket", **{"pruning.steps": 1, "pruning.protocol": "fasterai"}), tmp_path / "c")
    assert seen[:half] == first[:half] and seen[half:] != first[half:], "fasterai's clock goes on"


def test_fasterai_goes_back_with_fresh_batch_norm_and_goes_on_with_its_optimizer(small: Callable, tmp_path: Path):
    result = run(small("ticket", **{"pruning.protocol": "fasterai", "rewind.to": "1ep"}), tmp_path)
    ticket = lthrun.load_ticket(result.run_dir / "ticket.safetensors")
    back, _ = level_state(tmp_path, result, 0, "epoch-1")
    for name, value in ticket.state.items():
        layer, _, what = name.rpartition(".")
        if layer in ("1", "4"):
            assert (value == (1 if what in ("weight", "running_var") else 0)).all()
        else:
            kept = ticket.masks.get(name, torch.ones_like(value, dtype=torch.bool))
            assert torch.equal(value[kept], back[name][kept])
    assert not torch.equal(back["1.running_mean"], ticket.state["1.running_mean"])
    for k in (0, 3):
        moments = LevelStore(tmp_path).read(result.summary["levels"][k]["key"], "optimizer")
        assert moments["0.weight/step"] == 6 * 2 * (k + 1)


def test_supermask_is_the_mask_on_untrained_weights(small: Callable, tmp_path: Path):
    found = {
        how: run(small("supermask", **{"supermask.batch_norm": how}), tmp_path)
        for how in ("recalibrate", "initial", "trained")
    }
    batches = builder(small("supermask"), tmp_path).batches
    for how, result in found.items():
        ticket = lthrun.load_ticket(result.run_dir / "ticket.safetensors")
        model = build_model("resnet18", 2, 0)
        with torch.no_grad():
            for name, mask in ticket.masks.items():
                model.get_parameter(name).mul_(mask)
            trained = read_tensors(result.run_dir / "model.safetensors")[0]
            if how == "trained":
                for i in (1, 4):
                    model[i].running_mean.copy_(trained[f"{i}.running_mean"])
                    model[i].running_var.copy_(trained[f"{i}.running_var"])
            if how == "recalibrate":
                model[1].momentum = model[4].momentum = None
                model.train()
                for pictures, _ in batches.center_crops("train", 8):
                    model(pictures)
            model.eval()
            right = [
                int((model(pictures).argmax(1) == labels)[labels == c].sum())
                for pictures, labels in batches.center_crops("valid", 1000)
                for c in (0, 1)
            ]
        counts = batches.valid_counts
        mask = result.summary["supermask"]
        assert mask["batch_norm"] == how
        assert mask["accuracy"] == pytest.approx(sum(right) / sum(counts))
        assert mask["balanced_accuracy"] == pytest.approx(sum(r / n for r, n in zip(right, counts, strict=True)) / 2)
    assert len({result.run_dir for result in found.values()}) == 3
    assert result.summary["accuracy"] == result.summary["levels"][-1]["accuracy"]


def test_levels_are_trained_once_and_the_numbers_stay_the_same(small: Callable, tmp_path: Path):
    apart = {name: run(small(name), tmp_path / name) for name in ("baseline", "ticket", "supermask")}
    shared = {name: run(small(name), tmp_path / "shared") for name in apart}
    assert [len(events(shared[name], "reused")) for name in apart] == [0, 1, 4]
    assert len(list((tmp_path / "shared" / "levels").glob("*/level.json"))) == 4
    for name in apart:
        assert timeless(shared[name]) == timeless(apart[name])
        assert shared[name].run_dir.name == apart[name].run_dir.name
        for file in shared[name].run_dir.glob("*.safetensors"):
            assert file.read_bytes() == (apart[name].run_dir / file.name).read_bytes()
        without = {"seconds", "run_dir", "levels"}
        one, two = ({k: v for k, v in r.summary.items() if k not in without} for r in (shared[name], apart[name]))
        assert one == two


def test_a_finished_run_reports_again_and_fresh_trains_anew(small: Callable, tmp_path: Path):
    heard: list[str] = []
    first = run(small("baseline"), tmp_path)
    again = run(small("baseline"), tmp_path, emit=lambda kind, **_: heard.append(kind))
    assert "finished_before" in heard and "step" not in heard
    assert again.summary == first.summary and again.metrics == first.metrics
    heard.clear()
    fresh = run(small("baseline"), tmp_path, fresh=True, emit=lambda kind, **_: heard.append(kind))
    assert "step" in heard and "reused" not in heard
    assert timeless(fresh) == timeless(first) and fresh.metrics != first.metrics
    assert [p.name for p in (tmp_path / "levels").iterdir() if p.is_dir()] == [first.summary["levels"][0]["key"]]


@pytest.mark.parametrize("protocol", ["frankle", "fasterai"])
@pytest.mark.parametrize("moment", [3, 6, 7, 20, 43])
def test_a_run_broken_off_goes_on_to_the_same_end(small: Callable, tmp_path: Path, moment: int, protocol: str):
    config = small("ticket", **{"rewind.to": "1ep", "pruning.protocol": protocol})
    whole = run(config, tmp_path / "whole")
    steps = 0

    def stop(kind: str, **facts: Any) -> None:
        nonlocal steps
        steps += kind == "step"
        if steps == moment:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "broken", emit=stop)
    went_on = 0

    def count(kind: str, **facts: Any) -> None:
        nonlocal went_on
        went_on += kind == "step"

    rest = run(config, tmp_path / "broken", emit=count)
    assert went_on == 48 - (moment - 1) // 6 * 6, "finished epochs are not trained again"
    assert timeless(rest) == timeless(whole)
    for name in ("model", "ticket"):
        file = f"{name}.safetensors"
        assert (rest.run_dir / file).read_bytes() == (whole.run_dir / file).read_bytes()
    assert not list((tmp_path / "broken" / "levels").glob("*.part")), "nothing is left behind"


def test_an_interrupted_fresh_run_loses_nothing_and_leaves_nothing(small: Callable, tmp_path: Path):
    first = run(small("baseline"), tmp_path)
    steps = 0

    def stop(kind: str, **facts: Any) -> None:
        nonlocal steps
        steps += kind == "step"
        if steps == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(small("baseline"), tmp_path, fresh=True, emit=stop)
    again = run(small("baseline"), tmp_path)
    assert again.summary["levels"][0]["reused"] and timeless(again) == timeless(first)
    assert not list((tmp_path / "levels").glob("*.part"))


def test_what_a_row_says_is_already_on_disk(small: Callable, tmp_path: Path):
    def stop(kind: str, **facts: Any) -> None:
        if kind == "epoch" and facts["level_epoch"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(small("baseline"), tmp_path, emit=stop)
    heard: list[str] = []
    run(small("baseline"), tmp_path, emit=lambda kind, **_: heard.append(kind))
    assert "step" not in heard and "reused" in heard


@pytest.mark.parametrize(
    "fault", ["end missing", "end cut", "epoch missing", "record damaged", "record empty", "checkpoint"]
)
def test_a_damaged_level_is_trained_again(small: Callable, tmp_path: Path, fault: str):
    config = small("ticket", **{"rewind.to": "1ep", "pruning.steps": 1})
    first = run(config, tmp_path)
    level = tmp_path / "levels" / first.summary["levels"][0]["key"]
    if fault == "end missing":
        (level / "end.safetensors").unlink()
    elif fault == "end cut":
        os.truncate(level / "end.safetensors", 100)
    elif fault == "epoch missing":
        (level / "epoch-1.safetensors").unlink()
    elif fault == "checkpoint":
        shutil.rmtree(level)
        level.with_name(level.name + ".part").mkdir()
        (tmp_path / "levels" / f"{level.name}.part" / "checkpoint.safetensors").write_text("junk")
    else:
        (level / "level.json").write_text("{" if fault == "record damaged" else "{}")
    (first.run_dir / "summary.json").unlink()
    again = run(config, tmp_path)
    assert timeless(again) == timeless(first) and not again.summary["levels"][0]["reused"]


@pytest.mark.parametrize(
    "fault", ["metrics missing", "metrics torn", "summary empty", "summary a list", "ticket missing"]
)
def test_a_damaged_run_directory_is_made_whole_from_its_levels(small: Callable, tmp_path: Path, fault: str):
    first = run(small("ticket"), tmp_path)
    metrics, summary = first.run_dir / "metrics.jsonl", first.run_dir / "summary.json"
    if fault == "metrics missing":
        metrics.unlink()
    elif fault == "metrics torn":
        metrics.write_text(metrics.read_text()[:-30])
    elif fault == "ticket missing":
        (first.run_dir / "ticket.safetensors").unlink()
    else:
        summary.write_text("{}" if fault == "summary empty" else "[]")
    heard: list[str] = []
    again = run(small("ticket"), tmp_path, emit=lambda kind, **_: heard.append(kind))
    assert "step" not in heard and heard.count("reused") == 4
    assert timeless(again) == timeless(first) and lthrun.load_ticket(first.run_dir / "ticket.safetensors")


def test_a_level_killed_while_it_is_finished_loses_one_epoch_prune_rate(
    small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        patch.setattr(LevelStore, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(small("baseline"), tmp_path)
    steps = 0

    def count(kind: str, **facts: Any) -> None:
        nonlocal steps
        steps += kind == "step"

    result = run(small("baseline"), tmp_path, emit=count)
    assert steps == 6
    level = tmp_path / "levels" / result.summary["levels"][0]["key"]
    assert {p.name for p in level.iterdir()} == {
        "level.json", "end.safetensors", "optimizer.safetensors", "epoch-1.safetensors",
    }  # fmt: skip


def test_a_replacement_cut_short_is_undone(small: Callable, tmp_path: Path):
    result = run(small("baseline"), tmp_path)
    level = tmp_path / "levels" / result.summary["levels"][0]["key"]
    level.rename(level.with_name(level.name + ".old"))
    shutil.rmtree(result.run_dir)
    assert run(small("baseline"), tmp_path).summary["levels"][0]["reused"]


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(small: Callable, tmp_path: Path):
    first, second = (run(small("baseline"), tmp_path / name) for name in "ab")
    other = run(small("baseline", seed=1), tmp_path / "c")
    assert timeless(first) == timeless(second) != timeless(other)


def test_a_run_directory_holds_what_it_promises(small: Callable, tmp_path: Path):
    result = run(small("ticket"), tmp_path)
    assert {p.name for p in result.run_dir.iterdir()} - {".lock"} == {
        "config.yaml", "environment.json", "metrics.jsonl", "events.jsonl", "summary.json",
        "model.safetensors", "ticket.safetensors",
    }  # fmt: skip
    assert result.run_dir.name.startswith("ticket-s0-") and len(result.run_dir.name) == len("ticket-s0-") + 8
    fields = {
        "epoch", "level", "level_epoch", "sparsity", "train_loss", "valid_loss", "accuracy", "balanced_accuracy",
        "seconds", "images_per_second", "time",
    }  # fmt: skip
    assert all(set(record) == fields for record in result.metrics)
    assert [record["epoch"] for record in result.metrics] == list(range(8))
    promised = {
        "experiment", "seed", "device", "precision", "n_train", "n_valid", "majority_rate", "accuracy",
        "accuracy_interval", "balanced_accuracy", "balanced_accuracy_interval", "sparsity", "epochs", "levels",
        "seconds", "run_dir",
    }  # fmt: skip
    assert promised <= set(result.summary) and read_json(result.run_dir / "summary.json") == result.summary
    again = lthrun.run(lthrun.load_config(result.run_dir / "config.yaml"), tmp_path, emit=ignore)
    assert again.run_dir == result.run_dir, "config.yaml runs again as it is"
    counts = [sum(1 for e in events(result, kind)) for kind in ("saved", "pruned", "rewound", "finished")]
    assert counts == [1, 3, 3, 1]


def test_a_loss_that_is_no_number_ends_the_run_with_the_key_to_change(small: Callable, tmp_path: Path):
    with pytest.raises(lthrun.UserError, match=r"training.learning_rate: the loss became NaN or inf in epoch 0"):
        run(small("baseline", **{"training.learning_rate": 1e30}), tmp_path)


def test_a_validation_loss_that_is_no_number_does_too(small: Callable, tmp_path: Path):
    with pytest.raises(lthrun.UserError, match=r"the loss became NaN or inf.*training.weight_decay"):
        run(small("baseline", **{"training.weight_decay": 1e6, "training.epochs": 9}), tmp_path)


def test_majority_rate_is_that_of_the_validation_images(small: Callable, tmp_path: Path):
    context = prepare(small("baseline"), ignore)
    labels = [context.store.labels[i] for i in context.split.valid]
    summary = run(small("baseline"), tmp_path).summary
    assert summary["majority_rate"] == max(labels.count(0), labels.count(1)) / len(labels)
    assert (summary["n_train"], summary["n_valid"]) == (48, 12)


def test_remaining_trains_up_to_the_end_of_level_0(small: Callable, tmp_path: Path):
    config = small("ticket", **{"rewind.to": "8it", "rewind.train": "remaining", "pruning.steps": 1})
    assert [record["level"] for record in run(config, tmp_path).metrics] == [0, 0, 1]
    assert [(level.first, level.end) for level in chain(config, Conditions({}, 6, "cpu", "float32"))] == [
        (0, 12),
        (8, 12),
    ]


def test_a_level_of_another_environment_is_reused_and_named(small: Callable, tmp_path: Path):
    first = run(small("baseline"), tmp_path)
    place = tmp_path / "levels" / first.summary["levels"][0]["key"] / "level.json"
    record = read_json(place)
    assert record is not None and record["environment"]["threads"] == torch.get_num_threads()
    write_json(place, record | {"environment": record["environment"] | {"torch": "1.0.0"}})
    second = run(small("ticket"), tmp_path)
    (event,) = events(second, "reused")
    assert event["differs"] == [f"torch 1.0.0 (here {torch.__version__})"]
