"""What the sections of a config are made of: types of values, and how a wrong one is refused."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from lthrun.errors import shorten
from lthrun.sparsity.granularities import parse_n_of_m

MOST = 1_000_000  # epochs, images, batches: more is a slip of the hand
LARGEST_SEED = 2**63 - 1
POINT = r"^\d{1,9}(ep|it)$"


def named_in(table: Mapping[str, Any], *, or_n_of_m: bool = False) -> Any:
    """The type of a name that must stand in `table`, or be like 2:4, or match the table's own `pattern`."""
    pattern = r"^\d+:\d+$" if or_n_of_m else getattr(table, "pattern", None)
    like = "n:m like 2:4" if or_n_of_m else getattr(table, "like", None)
    names = ", ".join(table) + (f", or {like}" if like else "")

    def known(name: str) -> str:
        if name in table or (or_n_of_m and parse_n_of_m(name)):
            return name
        near = difflib.get_close_matches(name, table, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise PydanticCustomError("unknown_name", "must be one of {names}{hint}", {"names": names, "hint": hint})

    names_or_pattern = {"anyOf": [{"enum": list(table)}, {"pattern": pattern}]}
    extra = names_or_pattern if pattern else {"enum": list(table)}
    return Annotated[str, AfterValidator(known), Field(json_schema_extra=extra)]  # type: ignore[arg-type]


def percent(value: float) -> float:
    if 0 < value < 1:
        raise PydanticCustomError(
            "percent",
            "sparsity is in percent, so write {percent} for this share",
            {"percent": f"{100 * value:g}"},
        )
    if not 0 <= value < 100:
        raise PydanticCustomError("percent", "must be in percent, at least 0 and below 100", {})
    return value


def refuse(key: str, found: Any, right: str) -> PydanticCustomError:
    """A check of several keys has failed: `key` says which one to change."""
    return PydanticCustomError(
        "refused", "{key}: found {found}; {right}", {"key": key, "found": shorten(found), "right": right}
    )


def decays(values: tuple[float, float]) -> tuple[float, float]:
    if not all(0 <= value < 1 for value in values):
        raise PydanticCustomError("decays", "must each be at least 0 and below 1", {})
    return values


def shares(values: tuple[float, float]) -> tuple[float, float]:
    if not 0.05 <= values[0] <= values[1] <= 1:
        raise PydanticCustomError("shares", "must be two shares from 0.05 to 1, the lesser first", {})
    return values


def distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) < len(values):
        raise PydanticCustomError("distinct", "must each be another one", {})
    return values


class Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def steps_of(point: str, epoch_steps: int) -> int:
    """`2ep` or `200it` in steps, `epoch_steps` being the steps of an epoch."""
    return int(point[:-2]) * (epoch_steps if point.endswith("ep") else 1)
