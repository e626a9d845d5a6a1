"""A user's own model by its place: package.module:factory."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from torch import nn

from lthrun.config.pruning import LayerSelection
from lthrun.errors import UserError
from lthrun.experiments import load_config
from lthrun.models import MODELS, build_model
from lthrun.sparsity.layer_selection import select_prunable
from tests.conftest import SMALL_SETS, tiny

SOURCE = """
from torch import nn

def net(classes, channels, image_size):
    return nn.Sequential(nn.Conv2d(channels, 4, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))

def other(classes):
    return net(classes, 3, 16)

def text(classes, channels, image_size):
    return "no model"

def both(classes, channels, image_size):
    class Both(nn.Linear):
        def forward(self, x):
            logits = super().forward(x.mean((2, 3)))
            return logits, logits
    return Both(channels, classes)

def more(classes, channels, image_size):
    return net(classes + 1, channels, image_size)

def color(classes, channels, image_size):
    return net(classes, channels + 2, image_size)

number = 3

class Net(nn.Linear):
    def __init__(self, classes, channels, image_size):
        super().__init__(channels, classes)
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """own_models/nets.py in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in ("", str(tmp_path))])
    (tmp_path / "own_models").mkdir()
    (tmp_path / "own_models" / "__init__.py").touch()
    (tmp_path / "own_models" / "nets.py").write_text(SOURCE)
    forget()
    yield tmp_path / "own_models" / "nets.py"
    forget()


def forget() -> None:
    for name in [name for name in sys.modules if name.startswith("own_models")]:
        del sys.modules[name]


def test_a_factory_or_a_class_is_built_and_initialized_from_the_seed():
    model = build_model("own_models.nets:net", 5, 0, channels=1, image_size=16)
    assert isinstance(model, nn.Sequential) and model[0].in_channels == 1 and model[-1].out_features == 5
    again, other = (build_model("own_models.nets:net", 5, seed, channels=1, image_size=16) for seed in (0, 1))
    assert model[0].weight.equal(again[0].weight) and not model[0].weight.equal(other[0].weight)
    assert build_model("own_models.nets:Net", 5, 0).out_features == 5


@pytest.mark.parametrize(
    "place, words",
    [
        ("own_models.nets:nothing", "the module own_models.nets has no nothing"),
        ("own_models.nowhere:net", "there is no module own_models.nowhere in "),
        ("no_such_package.nets:net", "the module no_such_package.nets cannot be imported"),
        ("own_models.nets:other", r"it must take \(classes, channels, image_size\)"),
        ("own_models.nets:text", "it must return a torch.nn.Module, not str"),
        ("own_models.nets:number", "it must be a function or a class"),
    ],
)
def test_what_is_no_factory_is_refused(place: str, words: str):
    with pytest.raises(UserError, match=f"model.name: found {place}; {words}"):
        build_model(place, 5, 0)


def test_a_name_that_is_no_place_is_refused():
    with pytest.raises(
        UserError, match=r"model.name: found 'own_models.nets'; must be one of .*, or package.module:factory"
    ):
        load_config(None, "ticket", options={"model.name": "own_models.nets"})


def test_levels_are_named_by_the_source_without_importing_it(module: Path):
    config = load_config(None, "ticket", options={"model.name": "own_models.nets:net"})
    facts = MODELS.key_facts(config.model.name, config.model)
    assert "own_models.nets" not in sys.modules, "importing it imports torch"
    assert MODELS.key_facts(config.model.name, config.model) == facts
    module.write_text(SOURCE.replace("stride=2", "stride=1"))
    assert MODELS.key_facts(config.model.name, config.model) != facts


def test_a_function_can_be_given_from_python():
    assert load_config(None, "ticket", options={"model.name": tiny}).model.name == "tests.conftest:tiny"
    with pytest.raises(
        UserError, match=r"model.name: found .*<lambda> at .*; must be a function or class at the top level of a module"
    ):
        load_config(None, "ticket", options={"model.name": lambda *_: nn.Linear(1, 1)})


def test_an_experiment_with_a_model_of_ones_own(lthrun: Callable, images: Path):
    done = lthrun(
        "ticket", "--model", "own_models.nets:net", "--data-dir", images, "--set", "data.image_size=16", "--epochs", "1",
        "--steps", "1", "--set", "training.batch_size=8", "--json",
    )  # fmt: skip
    assert done.status == 0, done.err
    assert list(json.loads(done.out)["levels"][1]["layers"]) == ["0.weight"]


def test_a_weight_of_two_layers_cannot_be_pruned():
    model = nn.ModuleDict({"one": nn.Conv2d(3, 3, 3), "two": nn.Conv2d(3, 3, 3), "three": nn.Conv2d(3, 3, 3)})
    model["two"].weight = model["one"].weight
    with pytest.raises(UserError, match="model.name: one and two share one weight, which cannot be pruned: leave them"):
        select_prunable(model, LayerSelection())
    assert select_prunable(model, LayerSelection(exclude=("one", "two"))) == ["three.weight"]
    twice = nn.ModuleDict({"one": model["three"], "two": model["three"]})
    assert select_prunable(twice, LayerSelection()) == ["one.weight"], "a layer that is used twice is one layer"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("both", "it must return logits [2, 2] for two images, not tuple"),
        ("more", "it must return logits [2, 2] for two images, not [2, 3]"),
        ("color", "it fails on images [2, 3, 16, 16]: RuntimeError: Given groups=1, weight of size [4, 5, 3, 3]"),
    ],
)
def test_a_model_without_logits_for_the_images_is_refused_before_training(
    name: str, words: str, lthrun: Callable, images: Path
):
    outcome = lthrun("baseline", "--model", f"own_models.nets:{name}", "--data-dir", images, *SMALL_SETS)
    assert outcome.status == 2 and outcome.err.count("\n") == 1
    assert f"model.name: found own_models.nets:{name}; {words}" in outcome.err
