"""The commands around the experiments: data, configs, names, runs, benchmarks. Torch comes in inside them only."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from lthrun.cli import options as opt
from lthrun.errors import MissingData, UserError
from lthrun.sparsity.schedules import sparsity_targets

if TYPE_CHECKING:
    from lthrun.report.screen import Screen

T = TypeVar("T")
PANEL = "Around them"
app = typer.Typer()
data_app = typer.Typer(no_args_is_help=True, help="Find, download and inspect the images.")
config_app = typer.Typer(no_args_is_help=True, help="Show, check and describe experiment configs.")
app.add_typer(data_app, name="data", rich_help_panel=PANEL)
app.add_typer(config_app, name="config", rich_help_panel=PANEL)
runs_app = typer.Typer(invoke_without_command=True)
app.add_typer(runs_app, name="runs", rich_help_panel=PANEL)


def with_data(action: Callable[[], T], dataset: str, screen: Screen) -> T:
    """Do it; where the data set is missing and a person is at the terminal, offer the download first."""
    try:
        return action()
    except MissingData:
        from lthrun.data import DATASETS

        download = DATASETS[dataset].download
        if download is None or not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise
        with screen.paused():
            question = f"{download.title} is not on this machine. Download it now ({download.size})?"
            if not typer.confirm(question, err=True):
                raise
            download.fetch()
        return action()


@runs_app.callback()
def runs(context: typer.Context, out: opt.Out = Path("runs"), json: opt.Json = False) -> None:
    """The runs so far, oldest first; `clean` frees disk."""
    from lthrun.report.screen import make_console
    from lthrun.report.study_tables import studies_table
    from lthrun.report.tables import runs_table
    from lthrun.storage.run_dir import finished_runs, finished_studies, other_format

    opt.check_out(out)
    context.obj = out
    if context.invoked_subcommand:
        return
    found, studies = finished_runs(out), finished_studies(out)
    foreign = [path.parent.name for path in sorted(out.glob("*/summary.json")) if other_format(path.parent) is not None]
    if foreign:
        said = f"not shown, because another version of lthrun wrote them: {', '.join(foreign)}"
        print(f"lthrun: {said}; use the version that environment.json names", file=sys.stderr)
    if json:
        print_json(found + studies)
        return
    if found:
        make_console().print(runs_table(found, str(out)))
    if studies:
        make_console().print(studies_table(studies, str(out)))
    if not found and not studies:
        print(f"no finished runs in {out}")


@runs_app.command()
def clean(
    context: typer.Context,
    keep: Annotated[
        list[str], typer.Option(metavar="RUN", help="Keep the levels of this run only. Repeatable.", show_default="all")
    ] = [],
    yes: Annotated[bool, typer.Option("--yes", help="Remove without asking.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Root of the runs.", show_default="runs")] = None,
) -> None:
    """Show what no run needs (levels, unfinished ones, damaged files), and remove it. Run directories stay."""
    from lthrun.report.screen import make_console
    from lthrun.report.tables import leftovers_table, megabytes
    from lthrun.storage.cleaning import leftovers, sweep

    root = out or context.obj
    found = leftovers(root, keep)
    if not found:
        print(f"nothing to remove in {root}")
        return
    make_console().print(leftovers_table(found, str(root)))
    if not yes:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            print("nothing was removed: --yes removes it")
            return
        typer.confirm("Remove this?", abort=True)
    print(f"{megabytes(sweep(root, found))} freed")


@app.command("list", rich_help_panel=PANEL)
def list_names(
    table: Annotated[str | None, typer.Argument(help="One table only, e.g. criteria.", show_default="all")] = None,
) -> None:
    """Every name a config can choose, with one line on each."""
    from lthrun.cli.names import TABLES
    from lthrun.report.screen import make_console
    from lthrun.report.tables import names_table

    if table is not None and table not in TABLES:
        raise UserError(f"list: found {table}; must be one of {', '.join(TABLES)}")
    console = make_console()
    for title, (key, names) in TABLES.items():
        if table in (None, title):
            console.print(names_table(title, key, names, console.width))


@app.command(rich_help_panel=PANEL)
def schedule(
    name: Annotated[str, typer.Argument(help="One of `lthrun list schedules`.")],
    sparsity: Annotated[float, typer.Option(help="Percent in the end.")] = 50.0,
    initial_sparsity: Annotated[float, typer.Option(help="Percent at the start.")] = 0.0,
    steps: Annotated[int, typer.Option(help="Number of prunings.")] = 3,
    sparsities: Annotated[str, typer.Option(help="The percents of custom, e.g. 20,36,50.")] = "",
) -> None:
    """Draw a schedule, and list the sparsity after each pruning."""
    from lthrun.config.loading import load_config
    from lthrun.report.screen import make_console
    from lthrun.report.tables import schedule_drawing
    from lthrun.sparsity.schedules import SCHEDULES

    keys = {"schedule": name, "sparsity": sparsity, "initial_sparsity": initial_sparsity, "steps": steps}
    if sparsities:
        keys["sparsities"] = [number(text, "--sparsities") for text in sparsities.split(",")]
    config: Any = load_config(None, "prune", options={f"pruning.{key}": value for key, value in keys.items()})
    params = config.pruning.params
    after = sparsity_targets(name, params)[1:]
    moves = [SCHEDULES[name](k / 100, params) for k in range(101)]
    console = make_console()
    console.print(*schedule_drawing(name, moves, after, console.width), sep="\n")


def number(text: str, option: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UserError(f"{option}: found {text!r}; must be percents like 20,36,50") from None


def bench(
    config: opt.ConfigFile = None,
    set: opt.Sets = [],
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each contestant.")] = 5,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Training steps of a turn.", show_default="an epoch on CUDA, 12 on the CPU"),
    ] = None,
    peers: Annotated[
        Path | None, typer.Option(metavar="PYTHON", help="An interpreter that has fastai and fasterai.")
    ] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Instead: where the time of a step goes.")] = False,
    json: opt.Json = False,
    **typed: Any,
) -> None:
    from lthrun.config.loading import load_config
    from lthrun.report.bench_tables import bench_tables, profile_tables
    from lthrun.report.screen import Screen, make_console

    settings = load_config(config, None, set, opt.by_key(BENCH_KEYS, typed))

    def measure() -> dict[str, Any]:
        from lthrun import bench as benchmark

        if profile:
            return benchmark.profile(settings, steps, screen)
        return benchmark.bench(settings, rounds, steps, peers, screen)

    with Screen(make_console(stderr=json)) as screen:
        found = with_data(measure, settings.data.dataset, screen)
    if json:
        print_json(found)
    else:
        make_console().print(*(profile_tables if profile else bench_tables)(found), sep="\n")


BENCH_KEYS = {"model": opt.COMMON["model"]} | opt.RUNNING
about_bench = "Time an epoch beside the machine's floor, a plain PyTorch loop and fasterai, in turns."
app.command(help=about_bench, rich_help_panel=PANEL)(opt.with_keys(bench, BENCH_KEYS))


@data_app.command()
def prepare(
    config: opt.ConfigFile = None,
    set: opt.Sets = [],
    data_dir: opt.DataDir = None,
    skip_unreadable: opt.SkipUnreadable = False,
    quiet: opt.Quiet = False,
) -> None:
    """Find the images, or download them, and decode them into the store."""
    data_command(config, set, data_dir, skip_unreadable, True, False, quiet)


@data_app.command()
def info(
    config: opt.ConfigFile = None, set: opt.Sets = [], data_dir: opt.DataDir = None, json: opt.Json = False
) -> None:
    """Counts, classes, split, majority rate, duplicates, and files that are skipped or cannot be read."""
    data_command(config, set, data_dir, False, False, json, False)


def data_command(
    source: str | None,
    sets: list[str],
    data_dir: str | None,
    skip: bool,
    download: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    from lthrun.config.loading import load_config
    from lthrun.data import DATASETS
    from lthrun.data.near_duplicates import find_near_duplicates
    from lthrun.data.store import open_store
    from lthrun.events import Decoding
    from lthrun.report.screen import Screen, make_console
    from lthrun.report.tables import data_tables

    options = {"data.dir": data_dir, "data.skip_unreadable": skip or None}
    settings = load_config(source, None, sets, {key: value for key, value in options.items() if value is not None}).data
    with Screen(make_console(stderr=as_json), quiet) as screen:
        screen("busy", doing=f"finding the images ({settings.dataset})")
        dataset = DATASETS[settings.dataset]
        try:
            images = dataset(settings)
        except MissingData:
            if not (download and dataset.download):
                raise
            with screen.paused():
                dataset.download.fetch()
            images = dataset(settings)
        store = open_store(
            images,
            settings.stored_size,
            settings.skip_unreadable or not download,  # `info` is there to list what cannot be read
            lambda event: screen("decoding", done=event.done, of=event.total) if isinstance(event, Decoding) else None,
        )
    split = store.split(settings)
    found = store.describe(split)
    if not download:
        found["near_duplicates"] = find_near_duplicates(store, split)
    if as_json:
        print_json(found)
    elif not quiet:
        make_console().print(*data_tables(found), sep="\n")


@config_app.command()
def show(experiment: opt.Experiment = None, config: opt.ConfigFile = None, set: opt.Sets = []) -> None:
    """The resolved YAML: defaults, file and settings put together."""
    from lthrun.config.loading import dump, load_config

    print(dump(load_config(config, experiment, set)), end="")


@config_app.command()
def check(files: Annotated[list[str], typer.Argument(metavar="FILE…", help="YAML configs.")]) -> None:
    """Validate configs, and run nothing."""
    from lthrun.config.loading import load_config

    for file in files:
        print(f"{file}: a valid {load_config(file).experiment} config")


@config_app.command()
def schema() -> None:
    """The JSON Schema by which editors complete and check the YAML."""
    from lthrun.config import schema

    print_json(schema())


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=1))
