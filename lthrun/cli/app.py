"""The command line: options in, experiment out. Torch is imported inside commands only."""

from __future__ import annotations

import errno
import signal
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from lthrun import __version__
from lthrun.cli import data as around
from lthrun.cli import options as opt
from lthrun.cli import results as studies
from lthrun.cli import sweep as sweeping
from lthrun.cli.data import print_json, with_data
from lthrun.cli.interrupts import Terminated, interruptible, terminate
from lthrun.errors import UserError, escape_unprintable
from lthrun.training.openmp import limit_spinning

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


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False) -> None:
    if version:
        print(f"lthrun {__version__}")
        raise typer.Exit


def experiment_command(name: str, about: str, keys: Mapping[str, opt.Keyed], is_study: bool = False) -> None:
    """Add the command of an experiment, with the options of its config keys; of a study, also who trains its levels."""

    def command(
        config: opt.ConfigFile = None,
        set: opt.Sets = [],
        fresh: opt.Fresh = False,
        checkpoint_every: opt.CheckpointEvery = None,
        dry_run: opt.DryRun = False,
        out: opt.Out = Path("runs"),
        engine: opt.Engine = "local",
        jobs: opt.Jobs = None,
        json: opt.Json = False,
        quiet: opt.Quiet = False,
        **typed: Any,
    ) -> None:
        how = {"fresh": fresh, "checkpoint_every": checkpoint_every, "engine": engine, "jobs": jobs}
        experiment(name, config, set, opt.by_key(keys, typed), out, dry_run, json, quiet, how)

    without = [] if is_study else opt.ENGINE
    app.command(name, help=about, rich_help_panel="Experiments")(opt.with_keys(command, keys, list(without)))


experiment_command(
    "baseline",
    "Train the dense network, which is also level 0 of every ticket.",
    opt.COMMON | opt.RUNNING,
)
experiment_command(
    "ticket",
    "Train, prune, rewind, repeat: iterative magnitude pruning.",
    opt.COMMON | opt.PRUNING | opt.REWINDING | opt.RUNNING,
)
experiment_command(
    "prune",
    "Prune gradually during one training, without rewinding: the practitioner's alternative.",
    opt.COMMON | opt.PRUNING | opt.RUNNING,
)
experiment_command(
    "supermask",
    "Find a mask, and judge it on weights that were never trained.",
    opt.COMMON | opt.MASKING | opt.PRUNING | opt.REWINDING | opt.RUNNING,
)
experiment_command(
    "compare",
    "Does the ticket win? Train the arms, each for several seeds, and say how sure the answer is.",
    opt.COMPARING | opt.COMMON | opt.RUNNING,
    is_study=True,
)
experiment_command(
    "connectivity",
    "Train a ticket in two orders of the images, and measure the error between the two.",
    opt.COMMON | opt.PRUNING | opt.CONNECTING | opt.RUNNING,
)


app.add_typer(sweeping.app)
app.add_typer(studies.app)
app.add_typer(around.app)


def experiment(
    name: str,
    source: str | None,
    sets: list[str],
    options: dict[str, Any],
    out: Path,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    how: dict[str, Any],
) -> None:
    """What all experiment commands do once their options are gathered; `how` it is run changes no number."""
    from lthrun.config.loading import load_config
    from lthrun.experiments import run
    from lthrun.report.screen import Screen, make_console

    config = load_config(source, name, sets, options)
    opt.check_engine(how["engine"])
    opt.check_out(out)
    with Screen(make_console(stderr=as_json), quiet) as screen:
        if dry_run:
            from lthrun.experiments.dry_run import forecast

            foreseen = with_data(lambda: forecast(config, out, how["fresh"], screen), config.data.dataset, screen)
            if as_json:
                print_json(foreseen)
            else:
                screen.forecast(foreseen)
            return
        with interruptible(screen, how["fresh"]):
            go = partial(run, config, out, emit=screen, **how)
            result = with_data(go, config.data.dataset, screen)
        screen.close(result.summary)
    told(result.summary, as_json)


def told(summary: dict[str, Any], as_json: bool) -> None:
    """The summary as JSON where it was asked for; a study of which something is missing does not end well."""
    if as_json:
        print_json(summary)
    missing = summary.get("missing")
    if missing:
        first = "the first, {arm} of seed {seed}: {why}".format(**missing[0])
        raise UserError(f"compare: {len(missing)} results are missing; {first} (the same command tries again)")


@app.command(rich_help_panel="Experiments")
def resume(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's directory: `lthrun runs` lists them.")],
    checkpoint_every: opt.CheckpointEvery = None,
    engine: opt.Engine = "local",
    jobs: opt.Jobs = None,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Go on with a run that was stopped, as it was started."""
    from lthrun import experiments
    from lthrun.report.screen import Screen, make_console

    opt.check_engine(engine)
    dataset = experiments.config_of(run).data.dataset
    with Screen(make_console(stderr=json), quiet) as screen:
        with interruptible(screen):
            go = partial(experiments.resume, run, screen, checkpoint_every, engine, jobs)
            result = with_data(go, dataset, screen)
        screen.close(result.summary)
    told(result.summary, json)


def main() -> None:
    """The `lthrun` command. Exit status: 0 done, 2 the user can mend it, 130 interrupted, 143 terminated, 1 else."""
    limit_spinning()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    before = signal.signal(signal.SIGTERM, terminate)
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
    except Terminated:
        sys.exit(143)
    finally:
        signal.signal(signal.SIGTERM, before)
    sys.exit(status if isinstance(status, int) else 0)


def fail(message: str) -> None:
    """One line on stderr, exit status 2. There is no message where help was shown for want of a command."""
    if message:
        print(f"lthrun: {escape_unprintable(message)}", file=sys.stderr)
    sys.exit(2)
