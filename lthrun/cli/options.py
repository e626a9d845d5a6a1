"""Options. Those that stand for a config key derive from its field: type, default and help are written once."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel, ValidationError

from lthrun.config.fields import fields_by_key, parse_interval
from lthrun.config.messages import explain_expected
from lthrun.errors import UserError, shorten
from lthrun.experiments import EXPERIMENTS
from lthrun.registry import TABLES

WHAT, HOW_PRUNED, WHERE, HOW_SHOWN = "What is run", "How it is pruned", "Where", "How it is shown"
PANELS = {
    "pruning": HOW_PRUNED, "rewind": HOW_PRUNED, "connectivity": HOW_PRUNED, "device": WHERE, "deterministic": WHERE,
    "data": WHERE,
}  # fmt: skip
METAVARS = {"device": "auto|cpu|cuda:0|mps|…", "data.dir": "DIR", "pruning.granularity": "NAME|N:M"}
Command = Callable[..., None]
NAMES = {"data.dir": "data_dir", "model.name": "model"}  # where the last part of the key says too little
COMMON = ("seed", "training.epochs", "model.name", "device", "deterministic", "data.dir", "data.skip_unreadable")


@dataclass(frozen=True)
class KeyOption:
    """An option that stands for a config key; `convert` turns what was typed into the key's value."""

    key: str
    name: str
    type: Any
    info: Any
    convert: Callable[[Any], Any] = lambda value: value


def key_option(config: type[BaseModel], key: str) -> KeyOption:
    field = fields_by_key(config)[key]
    name = NAMES.get(key, key.rpartition(".")[2])
    metavar = METAVARS.get(key)
    kind, help = plain_type(field.annotation), " ".join((field.description or "").split())
    panel, default = PANELS.get(key.partition(".")[0], WHAT), field.get_default()
    if key == "rewind.to":  # --rewind-epoch K is the short form of rewind.to: Kep
        info = typer.Option(help="The epoch that weights go back to; 0: initialization.", show_default="0",
                            rich_help_panel=panel)  # fmt: skip
        return KeyOption(key, "rewind_epoch", int, info, lambda epoch: f"{epoch}ep")
    flag = f"--{name.replace('_', '-')}"
    if kind is bool:
        return KeyOption(key, name, bool, typer.Option(flag, help=help, show_default=False, rich_help_panel=panel))
    is_list = kind is tuple
    shown = ",".join(map(show, default)) if is_list else show(default)
    info = typer.Option(
        flag,
        help=help,
        show_default=shown or False,
        rich_help_panel=panel,
        metavar=metavar or ("A,B,…" if is_list else "NAME" if kind is str else None),
    )
    if is_list:
        return KeyOption(key, name, str, info, lambda text: parse_list(text, flag))
    return KeyOption(key, name, kind, info)


def common_options(*keys: str) -> list[KeyOption]:
    """The options of keys that every experiment has."""
    return [key_option(EXPERIMENTS["baseline"].make, key) for key in keys]


def plain_type(annotation: Any) -> Any:
    """The type of a field as Typer takes it: a Literal, a plain type, or `tuple` for a list."""
    if get_origin(annotation) in (Union, types.UnionType):
        (annotation,) = (inner for inner in get_args(annotation) if inner is not type(None))
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return tuple if get_origin(annotation) is tuple else annotation


def show(value: Any) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def parse_list(text: str, flag: str) -> list[Any]:
    """`50,80` as a list; its items are read as YAML."""
    from lthrun.config.yaml_files import parse_yaml

    values: list[Any] = parse_yaml(f"[{text}]", f"{flag} {shorten(text)}")
    return values


def key_options(options: Sequence[KeyOption], without: Sequence[str] = ()) -> Callable[[Command], Command]:
    """A decorator: Typer sees `options` in place of a function's `**typed`, as its third and following parameters, and
    none of the function's own that are named in `without`."""
    only = inspect.Parameter.KEYWORD_ONLY
    derived = [
        inspect.Parameter(option.name, only, default=None, annotation=Annotated[option.type | None, option.info])
        for option in options
    ]

    def replace(function: Command) -> Command:
        own = [
            parameter.replace(kind=only)
            for parameter in inspect.signature(function, eval_str=True).parameters.values()
            if parameter.kind is not parameter.VAR_KEYWORD and parameter.name not in without
        ]
        function.__signature__ = inspect.Signature([*own[:2], *derived, *own[2:]])  # type: ignore[attr-defined]
        function.__annotations__ = {}
        return function

    return replace


def by_key(options: Sequence[KeyOption], typed: Mapping[str, Any]) -> dict[str, Any]:
    """What was typed, by config key. An option left out is None: the config decides."""
    return {o.key: o.convert(value) for o in options if (value := typed.get(o.name)) is not None}


def explain_option(error: typer.BadParameter) -> str:
    """What is wrong with the value of an option, as that of a config key is explained."""
    if not isinstance(error.__cause__, ValidationError) or error.param is None:
        return error.format_message()
    fault = error.__cause__.errors()[0]
    name = error.param.get_error_hint().replace("'", "")
    return f"{name}: found {shorten(repr(fault['input']))}; {explain_expected(fault)}"


def check_out(out: Path) -> Path:
    """The output root with ~ expanded; a file, or a folder in a file, is refused."""
    try:
        out = out.expanduser()
    except RuntimeError as error:
        raise UserError(f"--out {out}: {error}") from None
    existing = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not existing.is_dir():
        where = "" if existing == out else f", {existing}"
        raise UserError(f"--out {out}: found a file{where}; must be a directory")
    return out


def check_executor(name: str) -> str:
    if name not in TABLES["executors"]:
        raise UserError(f"--executor: found {shorten(name)}; must be one of {', '.join(TABLES['executors'])}")
    return name


def check_interval(text: str) -> str:
    parse_interval(text)
    return text


ConfigFile = Annotated[
    str | None,
    typer.Option("--config", metavar="FILE", help="YAML config, or the name of a shipped one.", rich_help_panel=WHAT),
]
Sets = Annotated[
    list[str],
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override a config key. Repeatable.", rich_help_panel=WHAT),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Retrain the levels of this run.", rich_help_panel=WHAT)]
CheckpointEvery = Annotated[
    str,
    typer.Option(
        callback=check_interval, metavar="30s|1ep|200it",
        help="What lies between two checkpoints: time (at the end of an epoch), epochs or steps.",
        rich_help_panel=WHERE,
    ),
]  # fmt: skip
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Show what would be trained or reused, and its cost.", rich_help_panel=WHAT),
]
Out = Annotated[
    Path,
    typer.Option(
        callback=check_out, metavar="DIR", help="Root of run directories and cached levels.", rich_help_panel=WHERE
    ),
]
Executor = Annotated[
    str,
    typer.Option(
        callback=check_executor, help="What trains the levels: `lthrun list executors`.", metavar="NAME",
        rich_help_panel=WHERE,
    ),
]  # fmt: skip
Jobs = Annotated[
    int | None,
    typer.Option(
        min=1, help="Levels trained at once.", metavar="N", rich_help_panel=WHERE,
        show_default="8 on a GPU; on a CPU 1, for small networks its cores; all places of a Ray cluster",
    ),
]  # fmt: skip
Json = Annotated[
    bool,
    typer.Option("--json", help="The summary as JSON on stdout, all else on stderr.", rich_help_panel=HOW_SHOWN),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="One line at the end.", rich_help_panel=HOW_SHOWN)]
DataDir = Annotated[
    str | None, typer.Option(metavar="DIR", help="An existing copy of the images.", rich_help_panel=WHERE)
]
SameDevice = Annotated[
    str | None,
    typer.Option(
        metavar=METAVARS["device"], help="A device of the type that the run was started on.",
        show_default="the one it was started on", rich_help_panel=WHERE,
    ),
]  # fmt: skip
ANY_EXPERIMENT: Any = Literal[tuple(EXPERIMENTS)]
ANY_RUN: Any = Literal[tuple(name for name, experiment in EXPERIMENTS.items() if not experiment.is_study)]
ExperimentName = Annotated[
    ANY_EXPERIMENT | None, typer.Argument(help="The experiment, if no config names it.", show_default="ticket")
]
RunName = Annotated[ANY_RUN, typer.Argument(help="What is run at every point.")]
