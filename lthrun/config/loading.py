"""From YAML and options to a config: defaults < config file < `--set` < options."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from lthrun.config.base import ExperimentConfig
from lthrun.config.messages import explain_faults
from lthrun.config.yaml_files import parse_yaml, read_yaml
from lthrun.errors import UserError, shorten

Configs = Mapping[str, type[ExperimentConfig]]


def load_config(
    configs: Configs,
    source: str | Path | None = None,
    experiment: str | None = None,
    sets: Iterable[str] = (),
    options: Mapping[str, Any] | None = None,
) -> ExperimentConfig:
    """The config of `experiment`.

    Args:
        configs: the config class of each experiment, by name.
        source: a YAML file, or the name of a shipped config.
        sets: `section.key=value` settings; they override the file.
        options: values by key path; they override the settings.

    Raises:
        UserError: a key is unknown, a value has the wrong type or is out of range, or the config belongs to another
            experiment.
    """
    tree = {} if source is None else read_yaml(source)
    where = "" if source is None else f"{source}: "
    name = tree.setdefault("experiment", experiment or "ticket")
    if not isinstance(name, str) or name not in configs:
        raise UserError(f"{where}experiment: found {shorten(repr(name))}; must be one of {', '.join(configs)}")
    if experiment and name != experiment:
        raise UserError(
            f"{where}experiment: found {name}; this is not a config of `lthrun {experiment}`: use `lthrun {name}`"
        )
    of_file = dict(tree)
    for setting in sets:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise UserError(f"--set: found {shorten(repr(setting))}; must be section.key=value, e.g. training.epochs=2")
        put(tree, key.strip(), parse_yaml(text, f"--set {shorten(setting)}"))
    for key, value in (options or {}).items():
        put(tree, key, value)
    if tree["experiment"] != name:
        raise UserError("--set experiment: the experiment is chosen by the command")
    try:
        return configs[name].model_validate(tree)
    except ValidationError as error:
        faults = explain_faults(error, configs[name], configs)
        is_files_own = faults == find_faults(name, of_file, configs)
        raise UserError(where + faults if is_files_own else faults) from None


def find_faults(name: str, tree: dict[str, Any], configs: Configs) -> str:
    """What is wrong with a tree by itself; empty if nothing is."""
    try:
        configs[name].model_validate(tree)
    except ValidationError as error:
        return explain_faults(error, configs[name], configs)
    return ""


def put(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set the value at a dotted key path. A mapping given for a section overrides the keys that it names."""
    *sections, last = key.split(".")
    for section in sections:
        inner = tree.get(section)
        tree[section] = inner = dict(inner) if isinstance(inner, dict) else {}
        tree = inner
    value = to_plain(value)
    is_section = not sections and isinstance(value, dict) and isinstance(tree.get(last), dict)
    tree[last] = {**tree[last], **value} if is_section else value


def to_plain(value: Any) -> Any:
    """Values from Python as YAML has them: paths as strings, numpy's scalars as numbers, tuples as lists."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {key: to_plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(inner) for inner in value]
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value


def dump(config: BaseModel) -> str:
    """The config as YAML that loads as it is."""
    text: str = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    return text
