"""The part of the reference about what a run leaves: its files, events and the keys of summary.json."""

from __future__ import annotations

import dataclasses
import inspect
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from lthrun import events
from lthrun.experiments import EXPERIMENTS
from lthrun.records import Record
from lthrun.reproductions.records import ReproductionSummary

FILES = {
    "config.yaml": "The resolved config. It runs again as it is.",
    "environment.json": "Format, versions, hardware, and the keys of the levels that the run needs.",
    "split.json": "By `data.split_seed`, the names of the `validation` and `test` images.",
    "metrics.jsonl": "One object per epoch.",
    "events.jsonl": "What happened, and when. A resumed run appends to it.",
    "evaluations.jsonl": "Networks that were evaluated and not trained (`supermask`, `connectivity`): by class the "
    "number of right answers, or per validation image 1 for a right answer.",
    "summary.json": "The result. It is written last: a directory that has it is finished.",
    "model.safetensors": "The weights after the last epoch. A study has none.",
    "ticket.safetensors": "The ticket: a boolean `mask/NAME` for each prunable tensor, a `state/NAME` for every "
    "parameter and buffer at the start of the last level, and metadata.",
    "report.html": "The page: one file without scripts. A study has it at its end, a run by `lthrun report`.",
    "figures": "The figures of the page as SVG and PNG, and the numbers of each as CSV.",
}
METRICS = {
    "epoch": "Counts over the whole run, from 0.",
    "level": "The level that was trained.",
    "level_epoch": "Counts within the level, from 0.",
    "sparsity": "Percent of the prunable weights that are zero, counted on the weights.",
    "train_loss": "Mean over the training images of the epoch; null without training.",
    "valid_loss": "Mean over the validation images.",
    "accuracy": "Share of the validation images answered correctly, 0 to 1.",
    "balanced_accuracy": "Mean of that share over the classes, 0 to 1.",
    "seconds": "Of the epoch, validation included.",
    "images_per_second": "Training images per second; null without training.",
    "time": "When the epoch ended, in seconds since 1970.",
    "interim_evaluations": "With `training.evaluate_every`: `step`, `loss` and `accuracy` of each.",
    "test_accuracy": "In the last line of a level, where there are test images: share of them answered correctly.",
    "test_balanced_accuracy": "Mean of that share over the classes.",
    "early_stop_test_accuracy": "That share at the interim evaluation of lowest validation loss.",
}
STUDY_METRICS = {
    "arm": "The arm that the training belongs to.",
    "seed": "Its seed.",
    "sparsity": "The study's sparsity in percent; null for an arm that is compared at all of them.",
    "measured_sparsity": "Percent of the prunable weights that are zero, counted on the weights.",
    "step": "The training step after the epoch, counted from initialization.",
}
SUMMARY = """\
## summary.json

Accuracies are shares from 0 to 1, sparsity is percent, times are seconds, intervals are two numbers. The JSON Schema is
printed by `lthrun config schema --of summary`.
"""
PLAIN = {str: "text", float: "number", int: "integer", bool: "true or false", type(None): "null", Any: "any"}


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(headings)} |"
    yield f"| {' | '.join('---' for _ in headings)} |"
    for row in rows:
        yield f"| {' | '.join(escape(cell) for cell in row)} |"
    yield ""


def escape(cell: str) -> str:
    """A text on one line, in which Markdown sees no column and no tag."""
    return " ".join(cell.split()).replace("|", "\\|").replace("<", "&lt;")


def described(heading: str, texts: Mapping[str, str]) -> Iterator[str]:
    return table([heading, "meaning"], [(f"`{name}`", text) for name, text in texts.items()])


def list_events(kind: Any = events.Event) -> Iterator[tuple[str, str, str]]:
    """The events that events.jsonl keeps: name, keys, meaning."""
    for inner in kind.__subclasses__():
        keys = ", ".join(f"`{field.name}`" for field in dataclasses.fields(inner)) if inner.is_recorded else ""
        about = "" if f"{inner.__name__}(" in inner.__doc__ else inspect.cleandoc(inner.__doc__).partition("\n\n")[0]
        if keys:
            yield f"`{inner.__new__(inner).kind}`", keys, about
        yield from list_events(inner)


def list_run_files() -> Iterator[str]:
    """The files of a run directory, and the keys of the lines in two of them."""
    yield from ["## Run directories", "", "`OUT/EXPERIMENT-sSEED-HASH/`: equal settings have equal names."]
    yield from ["Cached levels are in `OUT/levels/`.", "", *described("file", FILES), "### metrics.jsonl", ""]
    yield from described("key", METRICS)
    yield from ["A study has no `epoch`, `level`, `images_per_second` and `time`, but these:", ""]
    yield from [*described("key", STUDY_METRICS), "### events.jsonl", ""]
    yield from ["Each line has the name of the event as `event`, the `time` in seconds since 1970, and:", ""]
    yield from table(["event", "keys", "meaning"], list_events())


def list_summary_keys() -> Iterator[str]:
    """The keys of summary.json: the model of each kind of experiment, then those of its parts."""
    users: dict[Any, list[str]] = {}
    for name, entry in EXPERIMENTS.items():
        users.setdefault(entry.summary, []).append(f"`{name}`")
    parts: list[Any] = []
    yield SUMMARY
    for model, names in users.items():
        base = next((parent for parent in users if parent is not model and issubclass(model, parent)), None)
        also = f"; the keys of [{base.__name__}](#{base.__name__.lower()}), and these" if base else ""
        yield from [f"### {model.__name__}", "", f"Of {', '.join(names)}{also}.", ""]
        yield from list_fields(model, parts, base)
    yield from list_parts(parts)


def list_reproduction_keys() -> Iterator[str]:
    """The keys of reproduction.json."""
    parts: list[Any] = []
    yield from ["## reproduction.json", ""]
    yield from [
        "`OUT/reproduce-NAME/` has it and `report.html`; the runs and studies have directories of their own.",
        "",
    ]
    yield from list_fields(ReproductionSummary, parts)
    yield from list_parts(parts)


def list_parts(parts: list[Any]) -> Iterator[str]:
    for part in parts:  # grows while it is read
        yield from [f"### {part.__name__}", "", *([inspect.cleandoc(part.__doc__), ""] if part.__doc__ else [])]
        yield from list_fields(part, parts)


def list_fields(model: type[BaseModel], parts: list[Any], base: type[BaseModel] | None = None) -> Iterator[str]:
    """The fields of a model that `base` has not; models that they hold join `parts`."""
    fields = {name: f for name, f in model.model_fields.items() if base is None or name not in base.model_fields}
    rows = [(f"`{name}`", describe_type(f.annotation, parts), f.description or "") for name, f in fields.items()]
    width = 3 if any(row[2] for row in rows) else 2
    yield from table(["key", "type", "meaning"][:width], [row[:width] for row in rows])


def describe_type(annotation: Any, parts: list[Any]) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(describe_type(part, parts) for part in inner)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin is tuple:
        return f"[{', '.join(describe_type(part, parts) for part in inner)}]"
    if origin in (list, dict):
        return f"{'list of' if origin is list else 'by name,'} {describe_type(inner[-1], parts)}"
    if isinstance(annotation, type) and issubclass(annotation, Record):
        parts += [] if annotation in parts else [annotation]
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    return PLAIN[annotation]
