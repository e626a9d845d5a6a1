"""From defaults, files, settings and values of Python to a config, and back to YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lthrun.config.loading import dump
from lthrun.errors import UserError
from lthrun.experiments import load_config
from lthrun.experiments.supermask_config import LEARNED
from lthrun.sparsity.criteria import CRITERIA


def test_precedence_is_defaults_file_set_options(tmp_path: Path):
    file = tmp_path / "c.yaml"
    file.write_text("experiment: ticket\nseed: 1\ntraining: {epochs: 2, batch_size: 16}\n")
    config = load_config(file, "ticket", ["training.epochs=3", "training.batch_size=32"], {"training.epochs": 4})
    assert (config.seed, config.training.epochs, config.training.batch_size) == (1, 4, 32)
    assert config.training.learning_rate == 1e-3


@pytest.mark.parametrize(
    ("text", "setting", "blames_the_file"),
    [
        ("seed: one", "training.epochs=1", True),
        ("seed: 1", "training.epochs=many", False),
        ("seed: one", "training.epochs=many", False),
        ("seed: one", "seed=two", False),
    ],
)
def test_only_what_is_wrong_in_the_file_is_blamed_on_it(tmp_path: Path, text: str, setting: str, blames_the_file: bool):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(UserError) as error:
        load_config(tmp_path / "c.yaml", "ticket", [setting])
    assert "found '" in str(error.value)
    assert str(error.value).startswith(str(tmp_path)) == blames_the_file


FILE = "experiment: ticket\npruning: {targets: {fc: 20}}\ntraining: {optimizer: sgd, learning_rate: 0.1, schedule: cosine}\n"


@pytest.mark.parametrize(
    ("sets", "options"),
    [(["training={epochs: 2}"], {}), ([], {"training": {"epochs": 2}}), (["training={}", "training.epochs=2"], {})],
)
def test_a_mapping_given_for_a_section_overrides_only_the_keys_it_names(tmp_path: Path, sets: list[str], options: dict):
    (tmp_path / "c.yaml").write_text(FILE)
    training = load_config(tmp_path / "c.yaml", "ticket", sets, options).training
    assert (training.epochs, training.optimizer, training.learning_rate, training.schedule) == (2, "sgd", 0.1, "cosine")


def test_a_mapping_that_is_a_value_is_replaced(tmp_path: Path):
    (tmp_path / "c.yaml").write_text(FILE)
    assert load_config(tmp_path / "c.yaml", "ticket", ["pruning.targets={conv1: 30}"]).pruning.targets == {"conv1": 30}


@pytest.mark.parametrize(
    ("key", "value", "plain"),
    [
        ("data.dir", Path("some/where"), "some/where"),
        ("seed", np.int64(3), 3),
        ("pruning.sparsity", np.float64(40), 40.0),
        ("deterministic", np.bool_(True), True),
        ("training.betas", (np.float32(0.5), 0.75), (0.5, 0.75)),
        ("pruning.targets", {"fc": np.int32(20)}, {"fc": 20}),
        ("training", {"epochs": np.int8(2)}, {"epochs": 2}),
    ],
)
def test_values_of_python_and_numpy_mean_what_they_say(key: str, value: object, plain: object):
    assert load_config(None, "ticket", options={key: value}) == load_config(None, "ticket", options={key: plain})


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "seed": st.integers(0, 10**6),
            "training.epochs": st.integers(4, 99),
            "training.learning_rate": st.floats(1e-8, 10),
            "training.weight_decay": st.floats(0, 1),
            "training.evaluate_every": st.none() | st.integers(1, 10**6),
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


@pytest.mark.parametrize("method", LEARNED)
def test_methods_have_defaults_of_their_own_and_are_dumped_without_what_they_do_not_use(method, tmp_path: Path):
    config = load_config(None, "supermask", options={"supermask.method": method, "training.epochs": 7})
    assert (config.training.epochs, config.training.schedule, config.pruning.classifier) == (7, "cosine", True)
    tree = yaml.safe_load(dump(config))
    assert "rewind" not in tree and ("sparsity" in tree["pruning"]) == (method == "edge-popup")
    file = tmp_path / "dumped.yaml"
    file.write_text(dump(config))
    assert load_config(file) == config


def test_a_config_of_another_experiment_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="found ticket; this is not a config of `lthrun baseline`"):
        load_config("ticket", "baseline")
    file = tmp_path / "c.yaml"
    file.write_text("experiment: lottery\n")
    with pytest.raises(UserError, match="found 'lottery'; must be one of baseline, ticket, prune, supermask"):
        load_config(file)


@pytest.mark.parametrize("experiment", ["ticket", "prune", "supermask", "compare", "connectivity"])
def test_the_criterion_decides_the_context_where_it_is_not_given(experiment: str):
    def context(**settings: str) -> str:
        config: Any = load_config(None, experiment, options={f"pruning.{k}": value for k, value in settings.items()})
        found: str = config.pruning.context
        return found

    assert {name for name in CRITERIA if context(criterion=name) == "global"} == {"snip", "grasp", "synflow"}
    assert context() == context(context="auto") == context(criterion="snip", context="local") == "local"
    assert context(criterion="snip", context="auto") == context(context="global") == "global"
