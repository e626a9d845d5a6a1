"""The settings of shipped configs, from which reproductions start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lthrun.config.yaml_files import read_yaml
from lthrun.errors import UserError, shorten

Settings = dict[str, Any]
"""Values of a config by key path."""


def read_settings(source: str) -> Settings:
    """Those of a YAML file or of the shipped config of that name, but for its experiment.

    Raises:
        UserError: it cannot be read, or names a key by its path.
    """
    settings: Settings = {}
    for section, value in read_yaml(source).items():
        if "." in section:
            raise UserError(f"{source}: {shorten(section)}: unknown key; write its section, and the key below it")
        settings |= {f"{section}.{key}": v for key, v in value.items()} if isinstance(value, dict) else {section: value}
    return {key: value for key, value in settings.items() if key != "experiment"}


def leave_out(settings: Mapping[str, Any], *sections: str) -> Settings:
    return {key: value for key, value in settings.items() if key.partition(".")[0] not in sections}
