"""The command `sweep`: an experiment at every point of a grid over config keys."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from lthrun.cli import options as opt
from lthrun.cli.data import print_json, with_data
from lthrun.cli.interrupts import interruptible
from lthrun.errors import UserError, shorten

app = typer.Typer()
KEYS = opt.COMMON | opt.RUNNING


def sweep(
    experiment: Annotated[
        Literal["baseline", "ticket", "prune", "supermask"], typer.Argument(help="What is run at every point.")
    ],
    grid: Annotated[
        list[str],
        typer.Option(
            metavar="KEY=V,V,…",
            help="A config key and its values, as YAML; of several, every combination. Overrules what else is said.",
            rich_help_panel=opt.WHAT,
        ),
    ],
    config: opt.ConfigFile = None,
    set: opt.Sets = [],
    checkpoint_every: opt.CheckpointEvery = None,
    dry_run: opt.DryRun = False,
    out: opt.Out = Path("runs"),
    engine: opt.Engine = "local",
    jobs: opt.Jobs = None,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    **typed: Any,
) -> None:
    from lthrun.report.screen import Screen, make_console
    from lthrun.report.sweep_table import sweep_table

    options = opt.by_key(KEYS, typed)
    configs = [(place, configured(experiment, config, set, options, place)) for place in places(grid)]
    opt.check_engine(engine)
    opt.check_out(out)
    with Screen(make_console(stderr=json), quiet) as screen:
        from lthrun.experiments.sweep import runs_of
        from lthrun.experiments.sweep import sweep as carry_out

        runs = with_data(lambda: runs_of(configs, out, screen), configs[0][1].data.dataset, screen)
        if dry_run:
            from lthrun.experiments.dry_run import forecast_sweep

            foreseen = forecast_sweep(runs, out, screen)
            if json:
                print_json(foreseen)
            else:
                screen.forecast(foreseen)
            return
        from lthrun.experiments.tasks import RunOptions

        with interruptible(screen):
            found = carry_out(runs, RunOptions(out, False, checkpoint_every), screen, engine, jobs)
        screen.unbar()
    rows = [(run.place, summary) for run, summary in found if not isinstance(summary, str)]
    if json:
        print_json([summary | {"grid": place} for place, summary in rows])
    elif rows:
        make_console().print(sweep_table(rows))
    failed = [f"{run.name}: {why}" for run, why in found if isinstance(why, str)]
    if failed:
        raise UserError(
            f"sweep: {len(failed)} of {len(found)} runs failed (the same command tries again): " + "; ".join(failed)
        )


about = (
    "An experiment at every point of a grid over config keys: ordinary runs, each level of all of them trained once."
)
app.command(help=about, rich_help_panel="Experiments")(opt.with_keys(sweep, KEYS))


def places(grid: Iterable[str]) -> list[dict[str, Any]]:
    """The points of the grid: a value by config key, every combination."""
    axes: dict[str, list[Any]] = {}
    for text in grid:
        key, values = axis(text)
        if key in axes:
            raise UserError(f"--grid {key}: found twice; must be one list of all its values")
        axes[key] = values
    return [dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values())]


def axis(text: str) -> tuple[str, list[Any]]:
    """A key and its values, which are read as a YAML list."""
    from lthrun.config.loading import parse

    key, _, values = text.partition("=")
    found = parse(f"[{values}]", f"--grid {shorten(text)}")
    if not key.strip() or not found:
        raise UserError(
            f"--grid: found {shorten(repr(text))}; must be section.key=value,value, e.g. pruning.sparsity=50,80"
        )
    return key.strip(), found


def configured(
    experiment: str, source: str | None, sets: list[str], options: Mapping[str, Any], place: Mapping[str, Any]
) -> Any:
    """The config at a point of the grid."""
    from lthrun.config.loading import load_config
    from lthrun.experiments.sweep import at

    with at(place):
        return load_config(source, experiment, sets, {**options, **place})
