"""An interrupted level resumes to the same bits, and a training that fails names what is left of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lthrun import models
from lthrun.data.batches import Batches
from lthrun.errors import UserError
from lthrun.events import Emit, EpochFinished, Event, LevelReused, Resumed, Step
from lthrun.experiments import Result
from lthrun.storage.tensor_files import read_tensors
from tests.conftest import assert_same, interrupt, run, select, tiny

pytestmark = pytest.mark.usefixtures("tiny_module")
EPOCH_STEPS = 6
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "frankle": ("ticket", {"rewind.to": "1ep"}),
    "fasterai": ("ticket", {"rewind.to": "1ep", "pruning.protocol": "fasterai"}),
    "one pruning step": ("ticket", {"pruning.steps": 1}),
    "gradual": ("prune", {"pruning.steps": 4}),
    "gradual, by the last pruning": (  # its criterion reads the weights at the last pruning step
        "prune",
        {"training.epochs": 5, "pruning.criterion": "updating_movement", "pruning.schedule": "dsd", "pruning.steps": 7},
    ),
    "interim evaluations": ("baseline", {"training.evaluate_every": 2}),
}
# The run, when checkpoints are written, the step of the interrupt, and the steps that are not trained again.
CASES = [
    *((name, "1ep", at, (at - 1) // 6 * 6) for name in ("frankle", "fasterai") for at in (3, 6, 7, 20, 43)),
    *(
        (name, "2it", at, kept)
        for name in ("one pruning step", "gradual")
        for at, kept in ((1, 0), (4, 4), (5, 4), (9, 8), (12, 10))
    ),
    ("gradual, by the last pruning", "1ep", 15, 12),
    ("interim evaluations", "1it", 11, 11),
]


@pytest.fixture(scope="module")
def whole(small: Callable, tiny_module: None, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Result]:
    """The uninterrupted run of a name, which is trained once."""
    results: dict[str, Result] = {}

    def get(name: str) -> Result:
        if name not in results:
            experiment, settings = RUNS[name]
            results[name] = run(small(experiment, **settings), tmp_path_factory.mktemp("whole"))
        return results[name]

    return get


@pytest.mark.parametrize(("name", "every", "at", "kept"), CASES)
def test_an_interrupted_run_resumes_from_its_checkpoint_to_the_bit(
    whole: Callable, small: Callable, tmp_path: Path, name: str, every: str, at: int, kept: int
):
    experiment, settings = RUNS[name]
    config, events = small(experiment, **settings), list[Event]()
    interrupt(config, tmp_path, at, checkpoint_every=every)
    rest = run(config, tmp_path, events.append)
    assert len(select(events, Step)) == len(whole(name).metrics) * EPOCH_STEPS - kept
    assert_same(rest, whole(name))
    assert not list((tmp_path / "levels").glob("*.part")), "nothing is left behind"


def send(number: int, at: int) -> Emit:
    """An `emit` that sends a signal in training step `at`."""
    events: list[Event] = []

    def emit(event: Event) -> None:
        events.extend(select([event], Step))
        if select([event], Step) and len(events) == at:
            os.kill(os.getpid(), number)

    return emit


@pytest.mark.parametrize(("at", "kept"), [(1, 2), (4, 5), (5, 6), (6, 6), (7, 8), (11, 12), (12, 12)])
def test_a_signal_waits_for_the_step_and_saves_it(whole: Callable, small: Callable, tmp_path: Path, at: int, kept: int):
    config, events = small("ticket", **RUNS["one pruning step"][1]), list[Event]()
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path, send(signal.SIGINT, at), checkpoint_every="30s")
    rest = run(config, tmp_path, events.append)
    assert len(select(events, Step)) == 24 - kept
    resumed = [(event.level_epoch, event.steps) for event in select(events, Resumed)]
    assert resumed == ([] if kept == 12 else [divmod(kept, EPOCH_STEPS)])
    assert_same(rest, whole("one pruning step"))


def test_a_second_signal_does_not_wait(small: Callable, tmp_path: Path):
    events: list[Event] = []

    def emit(event: Event) -> None:
        events.append(event)
        if isinstance(event, Step):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(small("baseline"), tmp_path, emit)
    assert len(select(events, Step)) == 1 and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_epoch_that_was_reported_is_saved(small: Callable, tmp_path: Path):
    events: list[Event] = []
    interrupt(small("baseline"), tmp_path, 2, EpochFinished)
    run(small("baseline"), tmp_path, events.append)
    assert not select(events, Step) and select(events, LevelReused)


def test_dropout_draws_the_same_when_a_run_is_resumed(small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def noisy(classes: int, *_: int) -> nn.Module:
        return nn.Sequential(*list(tiny(classes))[:-1], nn.Dropout(0.5), nn.Linear(8, classes))

    monkeypatch.setitem(models.MODELS, "resnet18", models.ModelEntry(noisy, ""))
    before = torch.random.get_rng_state()
    uninterrupted = run(small("baseline"), tmp_path / "whole")
    assert torch.equal(before, torch.random.get_rng_state()), "the caller's random numbers are left alone"
    interrupt(small("baseline"), tmp_path / "stopped", 7)
    torch.manual_seed(12345)
    assert_same(run(small("baseline"), tmp_path / "stopped"), uninterrupted)


def spoil_images(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """From step `at` on, the images are NaN."""
    training_batch = Batches.training_batch

    def spoiled(self: Batches, step: int, order: int = 0) -> Any:
        images, labels = training_batch(self, step, order)
        return (images * float("nan") if step >= at else images), labels

    monkeypatch.setattr(Batches, "training_batch", spoiled)


@pytest.mark.parametrize(
    ("at", "every", "kept"),
    [(2, "1ep", None), (2, "1it", 2), (6, "1ep", 6), (9, "1ep", 6), (9, "2it", 8), (9, "1it", 9)],
)
def test_a_loss_that_is_nan_is_reported_with_step_rate_and_the_last_good_checkpoint(
    small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, every: str, kept: int | None
):
    schedule = {"training.schedule": "step", "training.milestones": [50], "training.gamma": 0.25}
    spoil_images(monkeypatch, at)
    with pytest.raises(UserError) as error:
        run(small("baseline", **schedule, **{"training.learning_rate": 0.5}), tmp_path, checkpoint_every=every)
    message = (
        f"training.learning_rate: the loss became NaN or inf in epoch {at // 6} of the level, from step {at} on, "
        f"at a learning rate of {0.5 if at < 6 else 0.125:g}; lower it or training.weight_decay "
    )
    assert str(error.value).startswith(message)
    where = str(error.value).removeprefix(message)
    if kept is None:
        assert where == "(there is no good checkpoint)"
        return
    path = Path(where.removeprefix("(the last good checkpoint is ").removesuffix(")"))
    tensors, metadata = read_tensors(path)
    assert metadata["step"] == str(kept) and all(tensor.isfinite().all() for tensor in tensors.values())


def test_a_resumed_run_names_the_same_step(small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    interrupt(small("baseline"), tmp_path, 9, checkpoint_every="2it")
    spoil_images(monkeypatch, 10)
    with pytest.raises(UserError, match=r"in epoch 1 of the level, from step 10 on"):
        run(small("baseline"), tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"training.learning_rate": 1e30}, r"training.learning_rate: the loss became NaN or inf in epoch 0"),
        ({"training.weight_decay": 1e6, "training.epochs": 9}, r"the loss became NaN or inf.*training.weight_decay"),
    ],
)
def test_a_training_or_validation_loss_that_diverges_ends_the_run_with_the_key_to_change(
    small: Callable, tmp_path: Path, settings: dict[str, Any], message: str
):
    with pytest.raises(UserError, match=message):
        run(small("baseline", **settings), tmp_path)
