"""What is wrong with a config, in one line that names the key, what was there and what would be right."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from lthrun.config.fields import EXAMPLES, fields_by_key
from lthrun.errors import shorten

SHOWN = 10
EXPECTED = {  # by pydantic's type of a fault
    "missing": "a value is missing",
    "string_too_short": "must not be empty",
    "too_long": "must have {max_length} values",
}
RENAMED = {"compare.at_most": "compare.prune_rate"}  # since format 1
Configs = Mapping[str, type[BaseModel]]


def explain_faults(error: ValidationError, config: type[BaseModel], configs: Configs) -> str:
    """The faults of a config, the first ones in full. `configs` are those of all experiments, by name."""
    # Wrong items leave their list too short, which is no fault of its own.
    parents = {fault["loc"][:k] for fault in error.errors() for k in range(len(fault["loc"]))}
    faults = [fault for fault in error.errors() if fault["loc"] not in parents]
    more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
    return "; ".join(explain_fault(fault, config, configs) for fault in faults[:SHOWN]) + more


def explain_fault(fault: Any, config: type[BaseModel], configs: Configs) -> str:
    key = shorten(".".join(map(str, fault["loc"])))
    if fault["type"] == "extra_forbidden":
        return f"{key or repr(key)}: unknown key; {suggest_key(key, config, configs)}"
    if fault["type"] == "missing" and isinstance(fault["loc"][-1], str):
        return f"{key}: is missing"
    if fault["type"] == "refused":  # it names its key itself
        return f"{key}.{fault['msg']}" if key else str(fault["msg"])
    value = fault["input"]
    found = shorten(repr(value) if isinstance(value, str) else value)
    if fault["type"] in ("too_short", "tuple_type"):
        return f"{key}: found {found}; must be a list of one or more, like [a, b]"
    message = explain_expected(fault)
    return f"{key.removesuffix('.[key]')}: found {found}; {message}" if key else message


def explain_expected(fault: Any) -> str:
    """What would be right instead of a value, in the words of lthrun rather than of pydantic."""
    kind, context = fault["type"], fault.get("ctx", {})
    if kind == "string_pattern_mismatch":
        return f"must be like {EXAMPLES[context['pattern']]}"
    if kind in EXPECTED:
        return EXPECTED[kind].format(**context)
    text = re.sub(r"Input should be ([^,]*), unable to .*", r"must be \1", fault["msg"])
    text = text.replace("Input should be", "must be")
    if choices := re.fullmatch(r"Value error, .* is not one of (.*)\.", text):
        return f"must be one of {choices[1].replace(chr(39), '')}"
    return re.sub(r"a valid \w+ instance|a valid dictionary( or instance of \w+)?", "a section of keys", text)


def suggest_key(key: str, config: type[BaseModel], configs: Configs) -> str:
    """What was probably meant by an unknown key."""
    if key in RENAMED:
        return f"it is called {RENAMED[key]} since format 2"
    owners = [name for name, other in configs.items() if key in fields_by_key(other)]
    if owners:
        return f"it belongs to {' and '.join(owners)}"
    paths = fields_by_key(config)
    section, _, name = key.rpartition(".")
    siblings = list_keys(config, section)
    same_name = [path for path in paths if path.rpartition(".")[2] == name]
    near = difflib.get_close_matches(name, siblings, n=1) or difflib.get_close_matches(key, paths, n=1) or same_name
    if near:
        meant = near[0] if "." in near[0] or not section else f"{section}.{near[0]}"
        return f"did you mean {meant}?"
    return f"known keys: {', '.join(siblings)}" if siblings else "the section has no such key"


def list_keys(config: type[BaseModel], section: str) -> list[str]:
    """The keys of a section, or of an item of a list where its path ends in a number; none of anything else."""
    model: Any = config
    for part in section.split(".") if section else ():
        inner = model.model_fields[part].annotation if part in getattr(model, "model_fields", {}) else model
        model = get_args(inner)[0] if part.isdigit() and get_args(inner) else inner
    return list(getattr(model, "model_fields", {}))
