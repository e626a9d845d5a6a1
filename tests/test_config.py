"""Configs: the defaults, their order of precedence, and what is said of a wrong one."""

from __future__ import annotations

import difflib
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lthrun.config import CONFIGS, schema
from lthrun.configfile import dump, key_paths, load_config, locate, shipped
from lthrun.errors import UserError

FILES = sorted(shipped().rglob("*.yaml"))


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


@pytest.mark.parametrize("name", ["baseline", "ticket", "supermask"])
def test_the_shipped_pets_configs_spell_out_the_defaults(name):
    tree = yaml.safe_load((shipped() / f"{name}.yaml").read_text())
    assert load_config(f"configs/{name}.yaml") == load_config(None, name)
    spelt = {f"{s}.{k}" for s, keys in tree.items() if isinstance(keys, dict) for k in keys}
    wanted = {key for key in key_paths(CONFIGS[name]) if "." in key} - {"data.dir", "data.skip_unreadable"}
    assert spelt == wanted


def test_the_rewind_config_rewinds():
    assert load_config("rewind") == load_config(None, "ticket", options={"rewind.to": "1ep"})


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(shipped()).as_posix())
def test_each_shipped_config_names_its_schema_and_its_command_first(file: Path):
    first = file.read_text().splitlines()[0]
    name = file.relative_to(shipped()).as_posix()
    experiment = load_config(file).experiment
    up = "../" * name.count("/")
    assert first == (
        f"# yaml-language-server: $schema={up}schema.json  run: lthrun {experiment} --config configs/{name}"
    )
    assert locate(f"configs/{name}") and locate(name.removesuffix(".yaml"))


def test_the_four_names_are_there_three_times():
    names = {"baseline", "ticket", "rewind", "supermask"}
    assert {f.relative_to(shipped()).with_suffix("").as_posix() for f in FILES} == {
        prefix + name for prefix in ("", "smoke/", "tutorial/") for name in names
    }


def test_smoke_configs_are_small():
    for file in (shipped() / "smoke").glob("*.yaml"):
        config = load_config(file)
        assert (config.data.dataset, config.data.image_size, config.precision) == ("synthetic", 32, "float32")


def test_tutorial_configs_follow_fasterai():
    for name in ("ticket", "rewind", "supermask"):
        assert load_config(f"tutorial/{name}").pruning.protocol == "fasterai"
    assert load_config("tutorial/supermask").supermask.batch_norm == "initial"


def test_schema_on_disk_is_the_schema_of_the_code():
    assert json.loads((shipped() / "schema.json").read_text()) == schema(), "run `make schema`"


def test_precedence_is_defaults_file_set_options(tmp_path: Path):
    file = tmp_path / "c.yaml"
    file.write_text("experiment: ticket\nseed: 1\ntraining: {epochs: 2, batch_size: 16}\n")
    config = load_config(file, "ticket", ["training.epochs=3", "training.batch_size=32"], {"training.epochs": 4})
    assert (config.seed, config.training.epochs, config.training.batch_size) == (1, 4, 32)
    assert config.training.learning_rate == 1e-3


@pytest.mark.parametrize("text", ["1e-3", "1.0e-3", "0.001"])
def test_scientific_numbers_are_numbers(text):
    assert load_config(None, "ticket", [f"training.learning_rate={text}"]).training.learning_rate == 1e-3


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "seed": st.integers(0, 10**6),
            "training.epochs": st.integers(4, 99),
            "training.learning_rate": st.floats(1e-8, 10),
            "training.weight_decay": st.floats(0, 1),
            "pruning.sparsity": st.one_of(st.just(0), st.floats(1, 99.9)),
            "pruning.steps": st.integers(1, 50),
            "pruning.context": st.sampled_from(["local", "global"]),
            "rewind.to": st.sampled_from(["0ep", "1ep", "3ep", "200it"]),
            "data.image_size": st.integers(16, 512),
        },
    ),
    st.sampled_from(["ticket", "supermask"]),
)
def test_what_is_dumped_loads_as_the_same_config(tmp_path_factory, settings, experiment):
    config = load_config(None, experiment, options=settings)
    file = tmp_path_factory.mktemp("dump") / "config.yaml"
    file.write_text(dump(config))
    assert load_config(file) == config


@given(st.sampled_from(key_paths(CONFIGS["ticket"])), st.data())
def test_a_misspelt_key_is_told_which_was_meant(key, data):
    section, _, name = key.rpartition(".")
    place = data.draw(st.integers(0, len(name) - 1))
    wrong = name[:place] + name[place + 1 :]  # one letter lost
    siblings = [k.rpartition(".")[2] for k in key_paths(CONFIGS["ticket"]) if k.rpartition(".")[0] == section]
    if wrong in siblings or not wrong or difflib.get_close_matches(wrong, siblings, n=1) != [name]:
        return
    path = f"{section}.{wrong}" if section else wrong
    with pytest.raises(UserError) as error:
        load_config(None, "ticket", options={path: 1})
    assert f"{path}: unknown key; did you mean {key}?" in str(error.value)


WRONG = {
    "training.epochs=0": "training.epochs: found 0; must be greater than or equal to 1",
    "training.epochs=2.5": "training.epochs: found 2.5; must be a valid integer",
    "training.epochs=true": "training.epochs: found True; must be a valid integer",
    "training.batch_size=1": "training.batch_size: found 1; must be greater than or equal to 2",
    "training.learning_rate=0": "training.learning_rate: found 0; must be greater than 0",
    "training.learning_rate=.nan": "training.learning_rate: found nan; must be a finite number",
    "training.learning_rate=fast": "training.learning_rate: found 'fast'; must be a valid number",
    "training.betas=[0.9]": "training.betas.1: found",
    "training.betas=[0.9, 1.5]": "training.betas: found [0.9, 1.5]; must each be at least 0 and below 1",
    "training.eps=-1": "training.eps: found -1; must be greater than 0",
    "training.weight_decay=-1": "training.weight_decay: found -1; must be greater than or equal to 0",
    "training=5": "training: found 5; must be a section of keys",
    "pruning.sparsity=0.5": "pruning.sparsity: found 0.5; sparsity is in percent, so write 50 for this share",
    "pruning.sparsity=100": "pruning.sparsity: found 100; must be in percent, at least 0 and below 100",
    "pruning.sparsity=-3": "pruning.sparsity: found -3; must be in percent",
    "pruning.steps=0": "pruning.steps: found 0; must be greater than or equal to 1",
    "pruning.criterion=large": "pruning.criterion: found 'large'; must be one of large_final, random (did you mean",
    "pruning.granularity=pixel": "pruning.granularity: found 'pixel'; must be one of weight",
    "pruning.context=both": "pruning.context: found 'both'; must be 'local' or 'global'",
    "pruning.protocol=zhou": "pruning.protocol: found 'zhou'; must be 'frankle' or 'fasterai'",
    "rewind.to=1": "rewind.to: found 1; must be a valid string",
    "rewind.to=one": "rewind.to: found 'one'; must be like 0ep, 1ep or 200it",
    "rewind.to=5ep": "rewind.to: found 5ep; must lie before the end of level 0",
    "rewind.train=half": "rewind.train: found 'half'; must be 'full' or 'remaining'",
    "data.dataset=cats": "data.dataset: found 'cats'; must be one of pets, cifar10, folder, synthetic",
    "data.labels=colour": "data.labels: found 'colour'; must be 'species' or 'breed'",
    "data.image_size=8": "data.image_size: found 8; must be greater than or equal to 16",
    "data.validation=100": "data.validation: found 100; must be less than 100",
    "data.split_seed=-1": "data.split_seed: found -1; must be greater than or equal to 0",
    "data.dir=5": "data.dir: found 5; must be a valid string",
    "data.skip_unreadable=1": "data.skip_unreadable: found 1; must be a valid boolean",
    "model.name=resnet19": "model.name: found 'resnet19'; must be one of resnet18, resnet34, resnet50",
    "seed=-1": "seed: found -1; must be greater than or equal to 0",
    "device=gpu": "device: found 'gpu'; must be auto, cpu, cuda or cuda:N",
    "precision=float16": "precision: found 'float16'; must be 'auto', 'float32' or 'bfloat16'",
    "epochs=3": "epochs: unknown key; did you mean training.epochs?",
    "trainin.epochs=3": "trainin: unknown key; did you mean training?",
    "supermask.batch_norm=initial": "supermask: unknown key; it belongs to supermask",
    "colour=red": "colour: unknown key; known here: experiment, seed",
    "experiment=baseline": "--set experiment: the experiment is chosen by the command",
    "training.epochs": "--set: found 'training.epochs'; must be section.key=value",
    "training.epochs=[": "--set training.epochs=[: line 1, column 2 not valid YAML",
}


@pytest.mark.parametrize("setting", WRONG)
def test_a_wrong_setting_is_named_with_what_would_be_right(setting):
    with pytest.raises(UserError) as error:
        load_config(None, "ticket", [setting])
    assert WRONG[setting] in str(error.value)
    assert "\n" not in str(error.value)


def test_every_key_has_a_wrong_case():
    keys = {setting.partition("=")[0] for setting in WRONG}
    leaves = [
        k for k in key_paths(CONFIGS["ticket"]) if not any(o.startswith(f"{k}.") for o in key_paths(CONFIGS["ticket"]))
    ]
    assert set(leaves) <= keys


def test_a_config_of_another_experiment_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="found ticket; this is not a config of `lthrun baseline`"):
        load_config("ticket", "baseline")
    file = tmp_path / "c.yaml"
    file.write_text("experiment: lottery\n")
    with pytest.raises(UserError, match="found 'lottery'; must be one of baseline, ticket, supermask"):
        load_config(file)


def test_sections_of_other_experiments_are_said_to_be_theirs():
    with pytest.raises(UserError, match="pruning: unknown key; it belongs to ticket and supermask"):
        load_config(None, "baseline", ["pruning.sparsity=30"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"training: [", "not valid YAML"),
        (b"- 1\n- 2\n", "found list; a config is a mapping of sections"),
        (b"training: {epochs: 2, epochs: 3}", "line 1, column 23 not valid YAML: key 'epochs' stands twice"),
        (b"\xff\xfe\x00", "cannot be read as UTF-8 text"),
        (b"training: !!python/object:os.system {}", "not valid YAML"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, content: bytes, message: str):
    file = tmp_path / "broken.yaml"
    file.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        load_config(file)
    assert "broken.yaml" in str(error.value)


def test_a_missing_file_lists_the_shipped_ones():
    with pytest.raises(UserError, match="found no file nowhere.yaml; shipped with lthrun are baseline, rewind"):
        load_config("nowhere.yaml")


def test_fasterai_has_no_remaining():
    with pytest.raises(UserError, match="rewind.train: found remaining; the fasterai protocol's clock never goes back"):
        load_config(None, "ticket", options={"pruning.protocol": "fasterai", "rewind.train": "remaining"})
