"""The JSON Schemas of configs and of summary.json."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from lthrun.experiments.experiment import EXPERIMENTS
from lthrun.experiments.summaries import RunSummary

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def config_schema() -> dict[str, Any]:
    """By which editors complete and check the YAML."""
    configs = [entry.make for entry in EXPERIMENTS.values()]
    union: Any = Annotated[reduce(or_, configs), Field(discriminator="experiment")]
    generated = TypeAdapter(union).json_schema()
    for config in configs:
        generated["$defs"][config.__name__]["required"] = ["experiment"]
    return {"$schema": DIALECT, "title": "lthrun experiment", **generated}


def summary_schema() -> dict[str, Any]:
    """Of summary.json: one model per kind of experiment."""
    summaries = list(dict.fromkeys(entry.summary for entry in EXPERIMENTS.values()))
    summaries.sort(key=lambda summary: summary is RunSummary)  # the most particular ones first
    generated = TypeAdapter(reduce(or_, summaries)).json_schema(mode="serialization")
    return {"$schema": DIALECT, "title": "lthrun summary", **generated}
