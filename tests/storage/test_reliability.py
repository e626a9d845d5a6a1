"""What is kept, what is found damaged, what is refused: on a tiny model, in process."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lthrun as package
from lthrun import experiments
from lthrun.experiments import run
from lthrun.storage.json_files import read_json, write_json
from lthrun.storage.tensor_files import read_tensors, write_tensors
from tests.conftest import SMALL
from tests.experiments.test_experiments import timeless

pytestmark = pytest.mark.usefixtures("tiny_model")
TINY = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]


def stopping(at: int) -> Callable[..., None]:
    """An `emit` that interrupts in the given step."""
    steps = 0

    def emit(kind: str, **facts: Any) -> None:
        nonlocal steps
        steps += kind == "step"
        if kind == "step" and steps == at:
            raise KeyboardInterrupt

    return emit


def heard(into: list[tuple[str, dict[str, Any]]]) -> Callable[..., None]:
    return lambda kind, **facts: into.append((kind, facts))


def broken_off(config: Any, out: Path, at: int, **more: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(config, out, emit=stopping(at), **more)


def flip(path: Path, place: float) -> None:
    """One bit, somewhere."""
    data = bytearray(path.read_bytes())
    data[int(place * (len(data) - 1))] ^= 4
    path.write_bytes(data)


def same(one: Any, two: Any) -> None:
    assert timeless(one) == timeless(two)
    for file in two.run_dir.glob("*.safetensors"):
        assert (one.run_dir / file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("experiment", ["ticket", "prune"])
@pytest.mark.parametrize(("moment", "kept"), [(1, 0), (4, 4), (5, 4), (9, 8), (12, 10)])
def test_a_checkpoint_within_an_epoch_goes_on_to_the_bit(
    small: Callable, tmp_path: Path, moment: int, kept: int, experiment: str
):
    settings = {"pruning.steps": 1} if experiment == "ticket" else {"pruning.steps": 4}
    config = small(experiment, **settings)
    whole = run(config, tmp_path / "whole")
    broken_off(config, tmp_path / "broken", moment, checkpoint_every="2it")
    events: list[Any] = []
    rest = run(config, tmp_path / "broken", emit=heard(events))
    trained = sum(kind == "step" for kind, _ in events)
    assert trained == len(whole.metrics) * 6 - kept, "only what came after the checkpoint"
    same(rest, whole)


@pytest.mark.parametrize("place", [0.0, 0.05, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("both", [False, True])
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_it_used(
    small: Callable, tmp_path: Path, place: float, both: bool
):
    config = small("baseline", **{"training.epochs": 4})
    whole = run(config, tmp_path / "whole")
    broken_off(config, tmp_path / "broken", 20)
    (part,) = (tmp_path / "broken" / "levels").glob("*.part")
    flip(part / "checkpoint.safetensors", place)
    if both:
        flip(part / "checkpoint-previous.safetensors", place)
    events: list[Any] = []
    rest = run(config, tmp_path / "broken", emit=heard(events))
    found = [facts for kind, facts in events if kind == "damaged"]
    assert len(found) == 1 + both and all(Path(facts["aside"]).is_file() for facts in found)
    assert [facts["level_epoch"] for kind, facts in events if kind == "resumed"] == ([] if both else [2])
    same(rest, whole)


@pytest.mark.parametrize("file", ["end", "epoch-1", "optimizer"])
def test_a_damaged_level_is_set_aside_and_trained_again(small: Callable, tmp_path: Path, file: str):
    first = run(small("baseline"), tmp_path)
    key = first.summary["levels"][0]["key"]
    flip(tmp_path / "levels" / key / f"{file}.safetensors", 0.9)
    shutil.rmtree(first.run_dir)
    events: list[Any] = []
    again = run(small("baseline"), tmp_path, emit=heard(events))
    assert [facts["what"] for kind, facts in events if kind == "damaged"] == ["result"]
    assert timeless(again) == timeless(first) and (tmp_path / "levels" / f"{key}.damaged").is_dir()


@pytest.mark.parametrize("place", [0.2, 0.5, 0.8])
def test_a_level_whose_record_was_damaged_is_trained_again(small: Callable, tmp_path: Path, place: float):
    """A flipped bit may leave valid JSON with another accuracy in it."""
    first = run(small("baseline"), tmp_path)
    record = tmp_path / "levels" / first.summary["levels"][0]["key"] / "level.json"
    text = record.read_text()
    at = text.index('"accuracy"', int(place * text.rindex('"accuracy"')))
    digit = next(i for i in range(at, len(text)) if text[i].isdigit())
    record.write_text(text[:digit] + str((int(text[digit]) + 1) % 10) + text[digit + 1 :])
    shutil.rmtree(first.run_dir)
    events: list[Any] = []
    again = run(small("baseline"), tmp_path, emit=heard(events))
    assert [facts["what"] for kind, facts in events if kind == "damaged"] == ["result"]
    assert timeless(again) == timeless(first)


def test_json_without_a_digest_is_read_as_before(tmp_path: Path):
    (tmp_path / "old.json").write_text('{"a": [1, 2.5]}')
    assert read_json(tmp_path / "old.json") == {"a": [1, 2.5]}
    write_json(tmp_path / "new.json", {"a": [1, 2.5], "b": None})
    assert read_json(tmp_path / "new.json") == {"a": [1, 2.5], "b": None}
    (tmp_path / "new.json").write_text((tmp_path / "new.json").read_text().replace("2.5", "3.5"))
    assert read_json(tmp_path / "new.json") is None
    assert read_json(tmp_path / "new.json", check=False) == {"a": [1, 3.5], "b": None}


def test_what_no_directory_tells_is_not_cleaned_away(ticket: Callable, lthrun: Callable, tmp_path: Path):
    ticket("baseline", "--quiet")
    (run_dir,) = (tmp_path / "out").glob("baseline-*")
    (run_dir / "environment.json").unlink()
    assert "nothing to remove" in lthrun("runs", "clean", "--out", "out", "--yes").out, "its summary tells"
    (run_dir / "summary.json").unlink()
    refused = lthrun("runs", "clean", "--out", "out", "--yes")
    assert refused.status == 2 and "environment.json: missing or damaged" in refused.err
    assert list((tmp_path / "out" / "levels").glob("*/level.json"))


def test_files_without_a_digest_are_read_as_before(tmp_path: Path):
    import torch
    from safetensors.torch import save_file

    save_file({"a": torch.ones(3)}, tmp_path / "old.safetensors")
    assert read_tensors(tmp_path / "old.safetensors")[0]["a"].sum() == 3
    write_tensors(tmp_path / "new.safetensors", {"a": torch.ones(3)}, {"b": "c"})
    assert read_tensors(tmp_path / "new.safetensors")[1] == {"b": "c"}
    flip(tmp_path / "new.safetensors", 1.0)
    with pytest.raises(package.UserError, match=r"new.safetensors: damaged"):
        read_tensors(tmp_path / "new.safetensors")


def test_a_run_reads_each_level_for_its_digest_once(small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from lthrun.storage import files as storage
    from lthrun.storage import level_store as levelstore

    run(small("ticket"), tmp_path)
    checked: list[Path] = []
    is_intact = storage.is_intact
    for module in (storage, levelstore):
        monkeypatch.setattr(module, "is_intact", lambda path: (checked.append(path), is_intact(path))[1])
    run(small("supermask"), tmp_path)
    assert len(checked) == len(set(checked)) > 0


def spoilt(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """From step `at` on, the images are no numbers."""
    from lthrun.data.batches import Batches

    training = Batches.training_batch

    def spoil(self: Batches, step: int, order: int = 0) -> Any:
        images, labels = training(self, step, order)
        return (images * float("nan") if step >= at else images), labels

    monkeypatch.setattr(Batches, "training_batch", spoil)


@pytest.mark.parametrize(
    ("at", "every", "kept"), [(2, None, None), (2, 1, 2), (6, None, 6), (9, None, 6), (9, 2, 8), (9, 1, 9)]
)
def test_a_loss_that_is_no_number_is_told_with_step_rate_and_the_last_good_checkpoint(
    small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, every: int | None, kept: int | None
):
    schedule = {"training.schedule": "step", "training.milestones": [50], "training.gamma": 0.25}
    config = small("baseline", **schedule, **{"training.learning_rate": 0.5})
    spoilt(monkeypatch, at)
    with pytest.raises(package.UserError) as error:
        run(config, tmp_path, checkpoint_every=every)
    said = (
        f"training.learning_rate: the loss became NaN or inf in epoch {at // 6} of the level, from step {at} on, "
        f"at a learning rate of {0.5 if at < 6 else 0.125:g}; lower it or training.weight_decay "
    )
    assert str(error.value).startswith(said)
    where = str(error.value).removeprefix(said)
    if kept is None:
        assert where == "(there is no good checkpoint)"
        return
    path = Path(where.removeprefix("(the last good checkpoint is ").removesuffix(")"))
    tensors, metadata = read_tensors(path)
    assert metadata["step"] == str(kept) and all(tensor.isfinite().all() for tensor in tensors.values())


def test_a_resumed_run_names_the_same_step(small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = small("baseline")
    broken_off(config, tmp_path, 9, checkpoint_every="2it")
    spoilt(monkeypatch, 10)
    with pytest.raises(package.UserError, match=r"in epoch 1 of the level, from step 10 on"):
        run(config, tmp_path)


def test_what_is_damaged_or_no_number_is_no_good_checkpoint(tmp_path: Path):
    import torch

    from lthrun.storage.level_store import LevelStore

    store = LevelStore(tmp_path)
    assert store.last_good("a") is None
    for value in (1.0, 2.0):
        store.save("a", {"w": torch.tensor([value])}, {})
    newest, before = (tmp_path / "levels" / "a.part" / f"checkpoint{which}.safetensors" for which in ("", "-previous"))
    assert store.last_good("a") == newest
    flip(newest, 1.0)
    assert store.last_good("a") == before
    store.save("a", {"w": torch.tensor([3.0])}, {})
    store.save("a", {"w": torch.tensor([float("inf")]), "mask": torch.tensor([True])}, {})
    assert store.last_good("a") == before and read_tensors(before)[0]["w"] == 3
    store.save("a", {"w": torch.tensor([float("nan")])}, {})
    assert store.last_good("a") is None


@pytest.fixture
def ticket(lthrun: Callable, images: Path) -> Callable:
    return lambda command, *more: lthrun(command, "--data-dir", images, "--out", "out", *TINY, *more)


@pytest.fixture
def terminated(monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM in the eighth step."""
    from lthrun.training.engine import Engine

    step, calls = Engine.step, []

    def terminate(self, batch, rate):
        calls.append(1)
        if len(calls) == 8:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batch, rate)

    monkeypatch.setattr(Engine, "step", terminate)


def test_terminated_it_says_what_was_kept_and_resume_goes_on(
    ticket: Callable, lthrun: Callable, terminated: None, tmp_path: Path
):
    stopped = ticket("ticket", "--steps", 1)
    assert stopped.status == 143 and "kept: everything up to epoch 0 of level 0" in stopped.out
    (run_dir,) = (tmp_path / "out").glob("ticket-*")
    rest = lthrun("resume", run_dir)
    assert rest.status == 0 and "level 0 goes on after 1 epoch" in rest.out
    assert "this run is finished" in lthrun("resume", run_dir).out
    kinds = [json.loads(line)["event"] for line in (run_dir / "events.jsonl").read_text().splitlines()]
    assert [kinds.count(kind) for kind in ("started", "resumed", "pruned", "finished")] == [2, 1, 1, 1]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("nowhere", "nowhere: not a run directory, there is no config.yaml in it"),
        ("renamed", "rename it back"),
        ("format", "written in format 0, and this lthrun reads 1"),
    ],
)
def test_resume_refuses_what_it_cannot_go_on_with(
    ticket: Callable, lthrun: Callable, tmp_path: Path, fault: str, message: str
):
    ticket("baseline", "--quiet")
    (run_dir,) = (tmp_path / "out").glob("baseline-*")
    if fault == "format":
        (run_dir / "environment.json").write_text('{"format": 0}')
        (run_dir / "summary.json").unlink()
    name = run_dir.rename(tmp_path / "out" / "mine") if fault == "renamed" else run_dir if fault == "format" else fault
    before = set(tmp_path.rglob("*"))
    outcome = lthrun("resume", name)
    assert outcome.status == 2 and message in outcome.err and outcome.err.count("\n") == 1
    assert set(tmp_path.rglob("*")) == before
    if fault == "format":
        assert message in ticket("baseline").err


def test_clean_shows_first_and_leaves_what_listed_runs_need(ticket: Callable, lthrun: Callable, tmp_path: Path):
    ticket("ticket", "--quiet")
    ticket("baseline", "--quiet")
    levels = tmp_path / "out" / "levels"
    (levels / "0123.part").mkdir()
    (levels / "0123.part" / "checkpoint.safetensors").write_bytes(b"x" * 100)
    (levels / "4567.damaged").write_bytes(b"x")
    everything = set(tmp_path.rglob("*"))
    shown = lthrun("runs", "clean", "--out", "out")
    assert shown.status == 0 and "0123.part" in shown.out and "4567.damaged" in shown.out
    assert "--yes" in shown.out and everything <= set(tmp_path.rglob("*"))
    assert len(list(levels.glob("*/level.json"))) == 4
    assert "freed" in lthrun("runs", "clean", "--out", "out", "--yes").out
    assert not list(levels.glob("*.part")) + list(levels.glob("*.damaged"))
    assert (
        len(list(levels.glob("*/level.json"))) == 4
        and "nothing to remove" in lthrun("runs", "--out", "out", "clean").out
    )
    (kept,) = (tmp_path / "out").glob("baseline-*")
    lthrun("runs", "clean", "--out", "out", "--keep", kept, "--yes")
    assert len(list(levels.glob("*/level.json"))) == 1
    assert lthrun("runs", "--out", "out").out.count("-s0-") == 2, "run directories stay"
    assert lthrun("runs", "clean", "--out", "out", "--keep", "nix").status == 2


def test_clean_leaves_what_a_stopped_run_goes_on_with(small: Callable, lthrun: Callable, tmp_path: Path):
    broken_off(small("ticket"), tmp_path / "out", 20)
    assert "nothing to remove" in lthrun("runs", "clean", "--out", "out", "--yes").out


def test_a_disk_too_small_is_said_before_training(ticket: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(100, 100, 0))
    outcome = ticket("ticket")
    assert outcome.status == 2 and "--out out: 0 MB are free and the run may need" in outcome.err
    assert outcome.err.count("\n") == 1 and not list(tmp_path.glob("out/*-s0-*"))


def test_a_run_of_the_first_format_is_shown_and_one_of_another_named(lthrun: Callable, tmp_path: Path):
    shutil.copytree(Path(__file__).parents[1] / "data", tmp_path / "out")
    shown = lthrun("runs", "--out", "out")
    assert shown.status == 0 and "ticket-s0-" in shown.out and shown.err == ""
    (run_dir,) = (tmp_path / "out").glob("ticket-*")
    summary = json.loads((run_dir / "summary.json").read_text())
    assert summary["format"] == 1 and experiments.config_of(run_dir).experiment == "ticket"
    (run_dir / "summary.json").write_text(json.dumps({**summary, "format": 99}))
    shown = lthrun("runs", "--out", "out")
    assert shown.status == 0 and "another version of lthrun wrote them: ticket-s0-" in shown.err


@pytest.mark.parametrize(
    "content", ["[" * 200_000, '{"format": 1, "files": {}}', '{"format": 1, "files": []}', "null", '"text"', "{"]
)
def test_a_summary_that_is_none_is_passed_over(lthrun: Callable, tmp_path: Path, content: str):
    for name in ("[bold]x", "plain"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "summary.json").write_text(content)
    outcome = lthrun("runs")
    assert (outcome.status, outcome.out, outcome.err) == (0, "no finished runs in runs\n", "")


@pytest.mark.parametrize("content", ['{"files": []}', '{"files": {}}', "[" * 200_000])
@pytest.mark.usefixtures("tiny_model")
def test_a_level_record_that_is_none_is_set_aside(small: Callable, tmp_path: Path, content: str):
    first = run(small("baseline"), tmp_path)
    level = tmp_path / "levels" / first.summary["levels"][0]["key"]
    (level / "level.json").write_text(content)
    (first.run_dir / "summary.json").unlink()
    assert not run(small("baseline"), tmp_path).summary["levels"][0]["reused"]


def test_a_cache_that_cannot_be_is_named(lthrun: Callable, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LTHRUN_CACHE", "~nobody-by-this-name/x")
    outcome = lthrun("data", "info", "--set", "data.dataset=synthetic")
    assert outcome.status == 2 and outcome.err.startswith("lthrun: LTHRUN_CACHE: found ~nobody-by-this-name/x")
