"""Types of config values, and how a wrong value is refused."""

from __future__ import annotations

import difflib
import re
from functools import cache
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from lthrun.errors import UserError, shorten
from lthrun.registry import TABLES

MOST = 1_000_000  # epochs, images, batches: more is a slip
LARGEST_SEED = 2**63 - 1
POINT = r"^\d{1,9}(ep|it)$"  # a place in the training: 2ep, 200it
ARM_NAME = r"^[a-z0-9][a-z0-9_.-]{0,39}$"
ARM_POINT = r"^(\d{1,9}(ep|it)|compare\.rewind)$"
DEVICE = r"^(auto|cpu|mps|cuda(:\d{1,3})?)$"
CHECKPOINT_EVERY = "30s"
INTERVAL = r"^(\d{1,9})(s|ep|it)$"  # between checkpoints: 30s, 1ep, 200it
EXAMPLES = {
    POINT: "0ep, 1ep or 200it",
    ARM_NAME: "snip or snip-2, in small letters",
    ARM_POINT: "0ep, 1ep, 200it or compare.rewind",
    DEVICE: "auto, cpu, cuda, cuda:0 or mps",
}


class Section(BaseModel):
    """A section of a config: unknown keys are refused, and the docstring under a field is its help."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True, defer_build=True
    )


@cache
def fields_by_key(config: type[BaseModel], prefix: str = "") -> dict[str, FieldInfo]:
    """The fields of a config and of its sections, by dotted key."""
    fields: dict[str, FieldInfo] = {}
    for name, field in config.model_fields.items():
        fields[prefix + name] = field
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            fields |= fields_by_key(field.annotation, f"{prefix}{name}.")
    return fields


def named_in(table: str, *, or_n_of_m: bool = False) -> Any:
    """The type of a name that `table` (a key of lthrun.registry.TABLES) has, or of a pattern like 2:4.

    The table is read when a value is validated, so that this room imports none of the rooms that fill it.
    """

    def check(name: str) -> str:
        return name if or_n_of_m and parse_n_of_m(name) else check_name(table, name, or_n_of_m)

    def list_names(schema: dict[str, Any]) -> None:
        names, pattern = {"enum": list(TABLES[table])}, r"^\d+:\d+$" if or_n_of_m else TABLES[table].pattern
        schema.update({"anyOf": [names, {"pattern": pattern}]} if pattern else names)

    return Annotated[str, AfterValidator(check), Field(json_schema_extra=list_names)]


def check_name(table: str, name: str, or_n_of_m: bool = False) -> str:
    """The name, if the table has it; else an error that lists those it has."""
    entries = TABLES[table]
    if name in entries:
        return name
    names = ", ".join(entries) + (", or n:m like 2:4" if or_n_of_m else "")
    names += f", or {entries.like}" if entries.like else ""
    near = difflib.get_close_matches(name, entries, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise PydanticCustomError("unknown_name", "must be one of {names}{hint}", {"names": names, "hint": hint})


def parse_n_of_m(granularity: str) -> tuple[int, int] | None:
    """(2, 4) for `2:4`; None for the granularities that have a name."""
    match = re.fullmatch(r"(\d{1,4}):(\d{1,4})", granularity)
    return (int(match[1]), int(match[2])) if match else None


def point_text(value: Any) -> Any:
    """Refuse a bare number, as YAML reads the 1 of `rewind.to: 1`, by naming the forms of a point."""
    if not isinstance(value, str):
        raise PydanticCustomError("point", "must be like {examples}", {"examples": EXAMPLES[POINT]})
    return value


def percent(value: float) -> float:
    if 0 < value < 1:
        raise PydanticCustomError(
            "percent", "sparsity is in percent, so write {percent} for this share", {"percent": f"{100 * value:g}"}
        )
    if not 0 <= value < 100:
        raise PydanticCustomError("percent", "must be in percent, at least 0 and below 100", {})
    return value


def positive_percent(value: float) -> float:
    if percent(value) == 0:
        raise PydanticCustomError("percent", "must be in percent, above 0 and below 100", {})
    return value


def decay(values: tuple[float, float]) -> tuple[float, float]:
    if not all(0 <= value < 1 for value in values):
        raise PydanticCustomError("decay", "must each be at least 0 and below 1", {})
    return values


def shares(values: tuple[float, float]) -> tuple[float, float]:
    if not 0.05 <= values[0] <= values[1] <= 1:
        raise PydanticCustomError("shares", "must be two shares from 0.05 to 1, the lesser first", {})
    return values


def unique(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) < len(values):
        raise PydanticCustomError("unique", "values must be unique", {})
    return values


def refuse(key: str, found: Any, expected: str) -> PydanticCustomError:
    """The error of a check over several keys: `key` is the one to change."""
    return PydanticCustomError(
        "refused", "{key}: found {found}; {expected}", {"key": key, "found": shorten(found), "expected": expected}
    )


def count_steps(point: str, epoch_steps: int) -> int:
    """`2ep` or `200it` in training steps, at `epoch_steps` per epoch."""
    return int(point[:-2]) * (epoch_steps if point.endswith("ep") else 1)


def parse_interval(text: str) -> tuple[int, str]:
    """`30s`, `1ep` or `200it` as a number and its unit.

    Raises:
        UserError: it is none of these, or 0.
    """
    match = re.fullmatch(INTERVAL, text)
    if match is None or int(match[1]) == 0:
        raise UserError(f"--checkpoint-every: found {shorten(text)}; must be like 30s, 1ep or 200it")
    return int(match[1]), match[2]


Percent = Annotated[float, AfterValidator(percent)]
Percents = Annotated[tuple[Percent, ...], Field(strict=False)]
Rate = Annotated[float, Field(ge=0, le=1)]
Point = Annotated[str, Field(pattern=POINT), BeforeValidator(point_text)]
Patterns = Annotated[tuple[str, ...], Field(strict=False)]
