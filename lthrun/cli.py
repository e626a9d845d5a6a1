"""The command line: options in, experiment out. Torch is imported inside commands only."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from lthrun import __version__
from lthrun import options as opt
from lthrun.errors import MissingData, UserError

if TYPE_CHECKING:
    from lthrun.report.screen import Screen

T = TypeVar("T")
app = typer.Typer(
    name="lthrun",
    help="Does this sparse network really train as well as the dense one?\n\n"
    "Lottery ticket experiments on Oxford-IIIT Pet: each command runs its experiment as it is, without a config. "
    "Levels that runs have in common are trained once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
data_app = typer.Typer(no_args_is_help=True, help="Find, download and inspect the images.")
config_app = typer.Typer(no_args_is_help=True, help="Show, check and describe experiment configs.")
app.add_typer(data_app, name="data", rich_help_panel="Around them")
app.add_typer(config_app, name="config", rich_help_panel="Around them")


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False) -> None:
    if version:
        print(f"lthrun {__version__}")
        raise typer.Exit


@app.command(rich_help_panel="Experiments")
def baseline(
    config: opt.ConfigFile = None,
    set: opt.Sets = [],
    seed: opt.Seed = None,
    epochs: opt.Epochs = None,
    fresh: opt.Fresh = False,
    dry_run: opt.DryRun = False,
    device: opt.Device = None,
    data_dir: opt.DataDir = None,
    skip_unreadable: opt.SkipUnreadable = False,
    out: opt.Out = Path("runs"),
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Train the dense network, which is also level 0 of every ticket."""
    options = shared_options(seed, epochs, device, data_dir, skip_unreadable)
    experiment("baseline", config, set, options, out, fresh, dry_run, json, quiet)


@app.command(rich_help_panel="Experiments")
def ticket(
    config: opt.ConfigFile = None,
    set: opt.Sets = [],
    seed: opt.Seed = None,
    epochs: opt.Epochs = None,
    rewind_epoch: opt.RewindEpoch = None,
    sparsity: opt.Sparsity = None,
    steps: opt.Steps = None,
    protocol: opt.Protocol = None,
    fresh: opt.Fresh = False,
    dry_run: opt.DryRun = False,
    device: opt.Device = None,
    data_dir: opt.DataDir = None,
    skip_unreadable: opt.SkipUnreadable = False,
    out: opt.Out = Path("runs"),
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Train, prune, rewind, repeat: iterative magnitude pruning."""
    options = shared_options(seed, epochs, device, data_dir, skip_unreadable)
    options |= ticket_options(rewind_epoch, sparsity, steps, protocol)
    experiment("ticket", config, set, options, out, fresh, dry_run, json, quiet)


@app.command(rich_help_panel="Experiments")
def supermask(
    config: opt.ConfigFile = None,
    set: opt.Sets = [],
    seed: opt.Seed = None,
    epochs: opt.Epochs = None,
    rewind_epoch: opt.RewindEpoch = None,
    sparsity: opt.Sparsity = None,
    steps: opt.Steps = None,
    protocol: opt.Protocol = None,
    batch_norm: opt.BatchNorm = None,
    fresh: opt.Fresh = False,
    dry_run: opt.DryRun = False,
    device: opt.Device = None,
    data_dir: opt.DataDir = None,
    skip_unreadable: opt.SkipUnreadable = False,
    out: opt.Out = Path("runs"),
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Find a ticket, then judge its mask on weights that were never trained."""
    options = shared_options(seed, epochs, device, data_dir, skip_unreadable)
    options |= ticket_options(rewind_epoch, sparsity, steps, protocol) | {"supermask.batch_norm": batch_norm}
    experiment("supermask", config, set, options, out, fresh, dry_run, json, quiet)


def shared_options(
    seed: int | None, epochs: int | None, device: str | None, data_dir: str | None, skip_unreadable: bool
) -> dict[str, Any]:
    return {
        "seed": seed,
        "training.epochs": epochs,
        "device": device,
        "data.dir": data_dir,
        "data.skip_unreadable": skip_unreadable or None,
    }


def ticket_options(
    rewind_epoch: int | None, sparsity: float | None, steps: int | None, protocol: str | None
) -> dict[str, Any]:
    return {
        "rewind.to": None if rewind_epoch is None else f"{rewind_epoch}ep",
        "pruning.sparsity": sparsity,
        "pruning.steps": steps,
        "pruning.protocol": protocol,
    }


def given(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}


def experiment(
    name: str,
    source: str | None,
    sets: list[str],
    options: dict[str, Any],
    out: Path,
    fresh: bool,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """What all experiment commands do once their options are gathered."""
    from lthrun.configfile import load_config
    from lthrun.experiments import run
    from lthrun.report.screen import Screen, make_console

    config = load_config(source, name, sets, given(options))
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: found a file; must be a directory")
    with Screen(make_console(stderr=as_json), quiet) as screen:
        if dry_run:
            from lthrun.experiments.forecast import forecast

            foreseen = with_data(lambda: forecast(config, out, fresh, screen), config.data.dataset, screen)
            if as_json:
                print_json(foreseen)
            else:
                screen.forecast(foreseen)
            return
        try:
            result = with_data(lambda: run(config, out, fresh, screen), config.data.dataset, screen)
        except KeyboardInterrupt:
            screen.interrupted(fresh)
            raise
        screen.close(result.summary)
    if as_json:
        print_json(result.summary)


def with_data(action: Callable[[], T], dataset: str, screen: Screen) -> T:
    """Do it; where the data set is missing and a person is at the terminal, offer the download first."""
    try:
        return action()
    except MissingData:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise
        from lthrun.data import DOWNLOADS

        download = DOWNLOADS[dataset]
        with screen.paused():
            question = f"{download.title} is not on this machine. Download it now ({download.size})?"
            if not typer.confirm(question, err=True):
                raise
            download.fetch()
        return action()


@app.command(rich_help_panel="Around them")
def runs(out: opt.Out = Path("runs"), json: opt.Json = False) -> None:
    """The runs so far, oldest first."""
    from lthrun.report.screen import make_console
    from lthrun.report.tables import runs_table
    from lthrun.storage import finished_runs

    found = finished_runs(out)
    if json:
        print_json(found)
    elif found:
        make_console().print(runs_table(found, str(out)))
    else:
        print(f"no finished runs in {out}")


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
    """Counts, classes, split, majority rate, duplicates and unreadable files."""
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
    from lthrun.configfile import load_config
    from lthrun.data import DATASETS, DOWNLOADS
    from lthrun.data.store import describe, open_store
    from lthrun.report.screen import Screen, make_console
    from lthrun.report.tables import data_tables

    settings = load_config(source, None, sets, given({"data.dir": data_dir, "data.skip_unreadable": skip or None})).data
    with Screen(make_console(stderr=as_json), quiet) as screen:
        screen("busy", doing=f"finding the images ({settings.dataset})")
        try:
            images = DATASETS[settings.dataset](settings)
        except MissingData:
            if not download:
                raise
            with screen.paused():
                DOWNLOADS[settings.dataset].fetch()
            images = DATASETS[settings.dataset](settings)
        store = open_store(
            images,
            settings.image_size,
            settings.skip_unreadable or not download,  # `info` is there to list what cannot be read
            lambda done, of: screen("decoding", done=done, of=of),
        )
    found = describe(store, settings.validation, settings.split_seed)
    if as_json:
        print_json(found)
    elif not quiet:
        make_console().print(*data_tables(found), sep="\n")


@config_app.command()
def show(experiment: opt.Experiment = None, config: opt.ConfigFile = None, set: opt.Sets = []) -> None:
    """The resolved YAML: defaults, file and settings put together."""
    from lthrun.configfile import dump, load_config

    print(dump(load_config(config, experiment, set)), end="")


@config_app.command()
def check(files: Annotated[list[str], typer.Argument(metavar="FILE…", help="YAML configs.")]) -> None:
    """Validate configs, and run nothing."""
    from lthrun.configfile import load_config

    for file in files:
        print(f"{file}: a valid {load_config(file).experiment} config")


@config_app.command()
def schema() -> None:
    """The JSON Schema by which editors complete and check the YAML."""
    from lthrun.config import schema

    print_json(schema())


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=1))


def main() -> None:
    """The `lthrun` command. Exit status: 0 done, 2 the user can mend it, 130 interrupted, 1 anything else."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        status = app(standalone_mode=False)
    except UserError as error:
        fail(str(error))
    except typer.TyperException as error:
        fail(error.format_message())
    except OSError as error:
        if error.filename is None and error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        fail(f"{error.filename or 'the disk'}: {error.strerror}")
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    sys.exit(status if isinstance(status, int) else 0)


def fail(message: str) -> None:
    """One line on stderr, exit status 2. There is no message where help was shown for want of a command."""
    if message:
        print("lthrun: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(2)
