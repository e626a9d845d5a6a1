"""The options that commands share, each written once. An option left out is None: the config decides.

The experiments' options stand for config keys; `with_keys` makes a command's parameters of them, for Typer to read.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from lthrun.errors import UserError, shorten

WHAT, HOW_PRUNED, WHERE, HOW = "What is run", "How it is pruned", "Where", "How it is shown"


@dataclass(frozen=True)
class Keyed:
    """An option that stands for a config key; `convert` makes the key's value of what was typed."""

    key: str
    kind: Any
    option: Any
    convert: Callable[[Any], Any] = lambda value: value


def keyed(
    key: str, kind: Any, help: str, default: str = "", panel: str = WHAT, metavar: str | None = None, **more: Any
) -> Keyed:
    return Keyed(
        key,
        kind,
        typer.Option(help=help, show_default=default or False, rich_help_panel=panel, metavar=metavar),
        **more,
    )


def pruned_by(key: str, kind: Any, help: str, default: str, metavar: str | None = None) -> Keyed:
    return keyed(f"pruning.{key}", kind, help, default, HOW_PRUNED, metavar)


COMMON = {
    "seed": keyed("seed", int, "Decides initialisation, data order, augmentation, random masks.", "0"),
    "epochs": keyed("training.epochs", int, "Epochs of each level.", "5"),
    "model": keyed("model.name", str, "Architecture: `lthrun list models`.", "resnet18", metavar="NAME"),
}
RUNNING = {
    "device": keyed("device", str, "auto is cuda:0 if there is one.", "auto", WHERE, "auto|cpu|cuda:0|…"),
    "deterministic": Keyed(
        "deterministic",
        bool,
        typer.Option("--deterministic", help="On CUDA: the same bits every time; slower.", rich_help_panel=WHERE),
    ),
    "data_dir": keyed(
        "data.dir",
        str,
        "An existing copy of the images; for Pets, the folder that holds images/.",
        "",
        WHERE,
        "DIR",
    ),
    "skip_unreadable": Keyed(
        "data.skip_unreadable",
        bool,
        typer.Option("--skip-unreadable", help="Leave out images that cannot be read.", rich_help_panel=WHERE),
    ),
}
PRUNING = {
    "sparsity": pruned_by("sparsity", float, "Percent of the prunable weights that are zero in the end.", "50"),
    "steps": pruned_by("steps", int, "Number of prunings.", "3; of prune 10"),
    "schedule": pruned_by(
        "schedule", str, "How sparsity moves: `lthrun list schedules`.", "iterative; of prune agp", "NAME"
    ),
    "criterion": pruned_by("criterion", str, "Scores the weights: `lthrun list criteria`.", "large_final", "NAME"),
    "granularity": pruned_by(
        "granularity", str, "What is pruned as one: `lthrun list granularities`.", "weight", "NAME|N:M"
    ),
    "context": pruned_by(
        "context", Literal["local", "global"], "Each tensor by itself, or all ranked together.", "local"
    ),
}
REWINDING = {
    "rewind_epoch": keyed(
        "rewind.to",
        int,
        "Go back to the weights after this epoch; 0: initialisation.",
        "0",
        HOW_PRUNED,
        convert=lambda epoch: f"{epoch}ep",
    ),
    "retrain": keyed(
        "rewind.retrain",
        Literal["weights", "lr", "finetune"],
        "What goes back: weights and learning rate; the rate alone; neither.",
        "weights",
        HOW_PRUNED,
    ),
    "protocol": pruned_by("protocol", Literal["frankle", "fasterai"], "What happens between two levels.", "frankle"),
}
CONNECTING = {
    "rewind_points": keyed(
        "connectivity.rewind_points",
        str,
        "Where the two trainings start from, e.g. 0ep,200it,1ep.",
        "0ep,1ep,2ep",
        HOW_PRUNED,
        "POINTS",
        convert=lambda points: [point.strip() for point in points.split(",")],
    ),
}
MASKING = {
    "method": keyed(
        "supermask.method",
        Literal["lth", "edge-popup", "bernoulli"],
        "The ticket's mask, or one that is learned.",
        "lth",
    ),
    "batch_norm": keyed(
        "supermask.batch_norm",
        Literal["recalibrate", "initial", "trained"],
        "Running statistics the mask is judged with.",
        "recalibrate",
    ),
}


def check_out(out: Path) -> None:
    """Refuse an output root that is no directory and cannot become one."""
    there = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not there.is_dir():
        raise UserError(f"--out {out}: found a file{'' if there == out else f', {there}'}; must be a directory")


def listed(convert: Callable[[str], Any], option: str, like: str) -> Callable[[str], list[Any]]:
    """Makes a list of what was typed with commas."""

    def split(text: str) -> list[Any]:
        try:
            return [convert(part.strip()) for part in text.split(",")]
        except ValueError:
            raise UserError(f"{option}: found {shorten(repr(text))}; must be a list like {like}") from None

    return split


COMPARING = {
    "seeds": keyed("compare.seeds", int, "How many seeds each arm is trained with.", "5"),
    "arms": keyed(
        "compare.arms", str, "What is compared: `lthrun list arms`.", "all", WHAT, "ARM,ARM,…",
        convert=listed(str, "--arms", "dense,ticket"),
    ),
    "sparsities": keyed(
        "compare.sparsities", str, "Percents at which it is compared; the verdict is about the first.",
        "50,80,90,95,98", WHAT, "S,S,…", convert=listed(float, "--sparsities", "50,80,90"),
    ),
}  # fmt: skip
ENGINE = {
    "engine": typer.Option(help="Who trains the levels: `lthrun list engines`.", metavar="NAME", rich_help_panel=WHERE),
    "jobs": typer.Option(
        min=1,
        help="Levels trained at once.",
        show_default="1 on a CPU, 4 on a GPU; all places of a Ray cluster",
        metavar="N",
        rich_help_panel=WHERE,
    ),
}
Engine = Annotated[str, ENGINE["engine"]]
Jobs = Annotated[int | None, ENGINE["jobs"]]


def check_engine(name: str) -> None:
    from lthrun.executors import EXECUTORS

    if name not in EXECUTORS:
        raise UserError(f"--engine: found {name}; must be one of {', '.join(EXECUTORS)}")


ConfigFile = Annotated[
    str | None,
    typer.Option("--config", metavar="FILE", help="YAML config, or the name of a shipped one.", rich_help_panel=WHAT),
]
Sets = Annotated[
    list[str],
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Overrule a config key. Repeatable.", rich_help_panel=WHAT),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Train this run's levels anew.", rich_help_panel=WHAT)]
CheckpointEvery = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Also write a checkpoint every N steps.",
        show_default="each epoch",
        rich_help_panel=WHERE,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Only say what would be trained or taken over, and what it costs.",
        rich_help_panel=WHAT,
    ),
]
Out = Annotated[
    Path,
    typer.Option(metavar="DIR", help="Root of run directories and of the levels they share.", rich_help_panel=WHERE),
]
Json = Annotated[
    bool,
    typer.Option("--json", help="The summary as JSON on stdout, all else on stderr.", rich_help_panel=HOW),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="One line at the end.", rich_help_panel=HOW)]
DataDir = Annotated[str | None, RUNNING["data_dir"].option]
SkipUnreadable = Annotated[bool, RUNNING["skip_unreadable"].option]
Experiment = Annotated[
    Literal["baseline", "ticket", "prune", "supermask", "compare", "connectivity"] | None,
    typer.Argument(help="Whose defaults, where no config says so.", show_default="ticket"),
]


def with_keys(
    function: Callable[..., None], keys: Mapping[str, Keyed], without: Sequence[str] = ()
) -> Callable[..., None]:
    """`function` as Typer is to see it: `**typed` replaced by the options of `keys`, which come third, and `without`
    some of its own."""
    only = inspect.Parameter.KEYWORD_ONLY
    own = [
        parameter.replace(kind=only)
        for parameter in inspect.signature(function, eval_str=True).parameters.values()
        if parameter.kind is not parameter.VAR_KEYWORD and parameter.name not in without
    ]
    options = [
        inspect.Parameter(name, only, default=None, annotation=Annotated[k.kind | None, k.option])
        for name, k in keys.items()
    ]
    function.__signature__ = inspect.Signature([*own[:2], *options, *own[2:]])  # type: ignore[attr-defined]
    function.__annotations__ = {}
    return function


def by_key(keys: Mapping[str, Keyed], typed: Mapping[str, Any]) -> dict[str, Any]:
    """What was typed, by config key."""
    return {k.key: k.convert(typed[name]) for name, k in keys.items() if typed[name] is not None}
