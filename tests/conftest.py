"""Tiny images, a tiny model, runs of both, and the command line called in process."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import hypothesis
import pytest
import torch
from torch import nn

from lthrun import models
from lthrun.cli import app as cli
from lthrun.data import synthetic
from lthrun.events import Emit, Event, Step, ignore
from lthrun.executors.tasks import RunOptions
from lthrun.experiments import Result, load_config, run_experiment
from lthrun.experiments.run import Run, prepare_run
from lthrun.levels.builder import LevelBuilder
from lthrun.levels.cache import get_or_train
from lthrun.levels.plan import Level
from lthrun.records import LevelRecord
from lthrun.sparsity.masks import Tensors
from lthrun.storage.level_store import LevelStore
from lthrun.training.memory_layout import choose_memory_format

# Machines are shared: a slow one is no fault.
hypothesis.settings.register_profile("shared", deadline=None)
hypothesis.settings.load_profile("shared")
E = TypeVar("E", bound=Event)
COUNT = 60
LAYOUT = choose_memory_format(torch.device("cpu"), "float32")  # plain loops must use it to get the same bits
SMALL = {"data.image_size": 16, "training.batch_size": 8, "training.epochs": 2}
SMALL_SETS = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]
# What may differ between two uninterrupted runs: of a line of metrics.jsonl, and of summary.json.
TIMES = {"seconds", "images_per_second", "time"}
OWN = {"seconds", "run_dir", "xxh3"}


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as --data-dir wants it, with 60 drawn images."""
    root = tmp_path_factory.mktemp("pets")
    (root / "images").mkdir()
    synthetic.draw_images(root / "images", COUNT)
    return root


@pytest.fixture(scope="session", autouse=True)
def no_flush() -> Iterator[None]:
    """Files are not flushed to the disk, which takes most of the time of a small run: no test cuts the power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda number: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache directory of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        place = tmp_path_factory.mktemp("cache")
        patch.setenv("LTHRUN_CACHE", str(place))
        yield place


def tiny(classes: int, channels: int = 3, image_size: int = 16) -> nn.Module:
    """Two convolutions with batch norm: 4·3·3·3 and 8·4·3·3 prunable weights."""
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3, stride=2, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, classes),
    )


@contextmanager
def tiny_resnet18() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(models.MODELS, "resnet18", models.ModelEntry(tiny, "A tiny network."))
        yield


@pytest.fixture
def tiny_model() -> Iterator[None]:
    """`resnet18` is a tiny network during a test."""
    with tiny_resnet18():
        yield


@pytest.fixture(scope="module")
def tiny_module() -> Iterator[None]:
    """`resnet18` is a tiny network during all tests of a module, whose fixtures may share runs."""
    with tiny_resnet18():
        yield


@pytest.fixture(scope="session")
def small(images: Path) -> Callable[..., Any]:
    """A small config of an experiment, with settings by key path."""
    return lambda experiment, **settings: load_config(
        None, experiment, options={"data.dir": str(images), **SMALL, **settings}
    )


def run(config: Any, out: Path, emit: Emit = ignore, **options: Any) -> Result:
    """A run that saves a checkpoint after every epoch."""
    return run_experiment(config, RunOptions(out, **{"checkpoint_every": "1ep", **options}), emit)


def prepare_levels(config: Any, out: Path) -> tuple[Run, LevelBuilder]:
    """The planned levels of a config, and what they are built from."""
    planned = prepare_run(config, ignore)
    return planned, LevelBuilder(planned.context, LevelStore(out), ignore)


def train(builder: LevelBuilder, levels: Sequence[Level]) -> list[LevelRecord]:
    return [get_or_train(builder, level)[0] for level in levels]


def same_tensors(one: Tensors, other: Tensors) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def interrupt(config: Any, out: Path, at: int, kind: type[Event] = Step, **options: Any) -> None:
    """Run, and press Ctrl-C at the event number `at` of a kind: by default in that training step."""
    count = 0

    def emit(event: Event) -> None:
        nonlocal count
        count += isinstance(event, kind)
        if isinstance(event, kind) and count == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config, out, emit, **options)


def select(events: list[Event], kind: type[E]) -> list[E]:
    """The events of a kind."""
    return [event for event in events if isinstance(event, kind)]


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def read_events(run_dir: Path, kind: str) -> list[dict[str, Any]]:
    """What events.jsonl has of a kind."""
    return [event for event in read_lines(run_dir / "events.jsonl") if event["event"] == kind]


def timeless(result: Result) -> list[dict[str, Any]]:
    """The metrics without what differs between two runs."""
    return [{key: value for key, value in line.items() if key not in TIMES} for line in result.metrics]


def assert_same(one: Result, other: Result) -> None:
    """Two runs came to the same numbers and, to the bit, tensors."""
    assert timeless(one) == timeless(other)
    files = sorted(path.name for path in other.run_dir.glob("*.safetensors"))
    assert files and files == sorted(path.name for path in one.run_dir.glob("*.safetensors"))
    for name in files:
        assert digest(one.run_dir / name) == digest(other.run_dir / name), name


def digest(path: Path) -> str:
    """That of a file's content: large files are compared by it, as what differs in them cannot be read anyway."""
    return sha256(path.read_bytes()).hexdigest()


@dataclass
class Outcome:
    status: int
    out: str
    err: str


@pytest.fixture
def lthrun(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Outcome]:
    """The command line through its entry point, in an empty working directory."""

    def call(*arguments: object) -> Outcome:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["lthrun", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        found = capsys.readouterr()
        return Outcome(int(end.value.code or 0), found.out, found.err)

    return call
