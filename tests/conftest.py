"""Tiny images, a tiny model, and the command line called in process."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch
from torch import nn

from lthrun import models
from lthrun.cli import app as cli
from lthrun.config.loading import load_config
from lthrun.data import synthetic
from lthrun.training.memory_layout import layout

# Machines are shared: a slow one is no fault.
hypothesis.settings.register_profile("shared", deadline=None)
hypothesis.settings.load_profile("shared")
COUNT = 60
LAYOUT = layout(torch.device("cpu"), "float32")  # in which plain loops have to train to come to the same bits
SMALL = {"data.image_size": 16, "training.batch_size": 8, "training.epochs": 2}


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as --data-dir wants it, with 60 drawn images."""
    root = tmp_path_factory.mktemp("pets")
    (root / "images").mkdir()
    synthetic.draw_images(root / "images", COUNT)
    return root


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


@pytest.fixture
def tiny_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """`resnet18` is a tiny network for the time of a test."""
    monkeypatch.setitem(models.MODELS, "resnet18", models.ModelEntry(tiny, "A tiny network."))


@pytest.fixture
def small(images: Path) -> Callable[..., Any]:
    """A small config of an experiment, with settings by key path."""
    return lambda experiment, **settings: load_config(
        None, experiment, options={"data.dir": str(images), **SMALL, **settings}
    )


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
