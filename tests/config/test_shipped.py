"""The configs that come with lthrun: the defaults spelled out, and their schema."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from lthrun.config.loading import dump
from lthrun.config.yaml_files import locate_config, shipped_configs
from lthrun.experiments import load_config
from lthrun.experiments.schemas import config_schema
from lthrun.experiments.supermask_config import LEARNED

FILES = sorted(shipped_configs().rglob("*.yaml"))


def test_the_defaults_are_the_experiment_of_the_protocol():
    config = load_config(None, "ticket")
    assert (config.data.dataset, config.data.image_size, config.data.validation, config.data.split_seed) == (
        "pets", 64, 20, 42,
    )  # fmt: skip
    assert (config.model.name, config.training.epochs, config.training.batch_size) == ("resnet18", 5, 64)
    assert (config.training.learning_rate, config.training.betas, config.training.eps) == (1e-3, (0.9, 0.99), 1e-5)
    assert (config.pruning.sparsity, config.pruning.steps, config.pruning.criterion) == (50, 3, "large_final")
    assert (config.pruning.granularity, config.pruning.context, config.pruning.protocol) == (
        "weight",
        "local",
        "frankle",
    )
    assert (config.rewind.to, config.rewind.train) == ("0ep", "full")


@pytest.mark.parametrize(
    "name", ["baseline", "ticket", "prune", "supermask", "edge-popup", "bernoulli", "connectivity"]
)
def test_the_shipped_pets_configs_spell_out_the_defaults(name):
    tree = yaml.safe_load((shipped_configs() / f"{name}.yaml").read_text())
    learned = name in LEARNED
    plain = load_config(None, tree["experiment"], options={"supermask.method": name} if learned else {})
    assert load_config(f"configs/{name}.yaml") == plain
    spelled, wanted = (
        {f"{s}.{k}" for s, keys in found.items() if isinstance(keys, dict) for k in keys}
        for found in (tree, yaml.safe_load(dump(plain)))
    )
    assert spelled == wanted - {"data.dir", "data.skip_unreadable"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(shipped_configs()).as_posix())
def test_each_shipped_config_names_its_schema_and_its_command_first(file: Path):
    first = file.read_text().splitlines()[0]
    name = file.relative_to(shipped_configs()).as_posix()
    named = yaml.safe_load(file.read_text()).get("experiment")
    command = named or {"smoke": "reproduce fasterai-tutorial"}.get(file.parent.name, "baseline")
    assert load_config(file, named or "baseline")
    up = "../" * name.count("/")
    assert first == f"# yaml-language-server: $schema={up}schema.json  run: lthrun {command} --config configs/{name}"
    assert locate_config(f"configs/{name}") and locate_config(name.removesuffix(".yaml"))


def test_every_experiment_has_a_pets_and_a_smoke_config_and_four_have_one_of_the_tutorial():
    four = ["baseline", "rewind", "supermask", "ticket"]
    others = ["bernoulli", "compare", "connectivity", "edge-popup", "prune"]
    assert {f.relative_to(shipped_configs()).with_suffix("").as_posix() for f in FILES} == {
        *(f"{prefix}{name}" for prefix in ("", "smoke/") for name in [*four, *others]),
        *(f"tutorial/{name}" for name in four),
        "smoke/tutorial",
        *(f"recipes/{name}" for name in ("lenet-mnist", "pets-90", "resnet20-cifar10")),
    }


def test_smoke_configs_are_small():
    for file in (shipped_configs() / "smoke").glob("*.yaml"):
        config = load_config(file)
        assert (config.data.dataset, config.data.image_size, config.precision) == ("synthetic", 32, "float32")


def test_tutorial_configs_follow_fasterai():
    for name in ("ticket", "rewind", "supermask"):
        assert load_config(f"tutorial/{name}").pruning.protocol == "fasterai"
    assert load_config("tutorial/supermask").supermask.batch_norm == "initial"


def test_schema_on_disk_is_the_schema_of_the_code():
    assert json.loads((shipped_configs() / "schema.json").read_text()) == config_schema(), "run `make schema`"
