"""The command `sweep`: an experiment at every point of a grid over config keys."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from lthrun.cli import options as opt
from lthrun.cli.data import offer_download
from lthrun.cli.interrupts import INTERRUPTS, exit_interrupted
from lthrun.config.fields import CHECKPOINT_EVERY
from lthrun.errors import UserError, escape_unprintable, shorten

app = typer.Typer()
KEYS = opt.common_options(*opt.COMMON)


@app.command(rich_help_panel="Experiments")
@opt.key_options(KEYS)
def sweep(
    experiment: opt.RunName,
    grid: Annotated[
        list[str],
        typer.Option(
            metavar="KEY=V,V,…",
            help="A config key and its values, as YAML; of several, every combination. Overrides all other settings.",
            rich_help_panel=opt.WHAT,
        ),
    ],
    config: opt.ConfigFile = None,
    set: opt.Sets = [],
    checkpoint_every: opt.CheckpointEvery = CHECKPOINT_EVERY,
    dry_run: opt.DryRun = False,
    out: opt.Out = Path("runs"),
    executor: opt.Executor = "local",
    jobs: opt.Jobs = None,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    **typed: Any,
) -> None:
    """An experiment at every point of a grid over config keys: ordinary runs, each of their levels trained once."""
    from lthrun.executors.tasks import RunOptions
    from lthrun.experiments import load_config
    from lthrun.experiments.dry_run import foresee_sweep
    from lthrun.experiments.summaries import RunSummary
    from lthrun.experiments.sweep import at_point, prepare_sweep, run_sweep
    from lthrun.report.lists import sweep_table
    from lthrun.report.screen import Screen
    from lthrun.report.terminal import make_console, print_json, show_tables
    from lthrun.report.wording import plural

    configs = []
    for point in list_points(grid):
        with at_point(point):
            configs.append((point, load_config(config, experiment, set, {**opt.by_key(KEYS, typed), **point})))
    with Screen(make_console(stderr=json), quiet) as screen:
        dataset = configs[0][1].data.dataset
        runs = offer_download(lambda: prepare_sweep(configs, out, screen), dataset, screen)
        if dry_run:
            foreseen = foresee_sweep(runs, out)
            if json:
                print_json(foreseen.model_dump(mode="json"))
            else:
                screen.show_dry_run(foreseen)
            return
        try:
            results = run_sweep(runs, RunOptions(out, False, checkpoint_every, executor, jobs), screen)
        except INTERRUPTS as interrupt:
            screen.show_interrupted()
            exit_interrupted(interrupt)
        screen.clear()
    rows = [(run.point, summary) for run, summary in results if isinstance(summary, RunSummary)]
    if json:
        print_json([summary.model_dump(mode="json") | {"grid": point} for point, summary in rows])
    elif quiet:
        finished = f"{len(rows)} of {plural(len(results), 'run')} of {experiment} finished"
        print(f"sweep: {finished}; `lthrun runs --out {escape_unprintable(str(out))}` lists them")
    elif rows:
        show_tables(make_console(), [sweep_table(rows)])
    failed = [f"{run.name}: {reason}" for run, reason in results if isinstance(reason, str)]
    if failed:
        raise UserError(
            f"sweep: {len(failed)} of {len(results)} runs failed (repeat the command to retry): " + "; ".join(failed)
        )


def list_points(grid: Iterable[str]) -> list[dict[str, Any]]:
    """The points of the grid: a value by config key, every combination."""
    axes: dict[str, list[Any]] = {}
    for text in grid:
        key, values = parse_axis(text)
        if key in axes:
            raise UserError(f"--grid {key}: found twice; must be one list of all its values")
        axes[key] = values
    return [dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values())]


def parse_axis(text: str) -> tuple[str, list[Any]]:
    """A key and its values, which are read as a YAML list."""
    from lthrun.config.yaml_files import parse_yaml

    key, _, values = text.partition("=")
    found = parse_yaml(f"[{values}]", f"--grid {shorten(text)}")
    if not key.strip() or not found:
        raise UserError(
            f"--grid: found {shorten(repr(text))}; must be section.key=value,value, e.g. pruning.sparsity=50,80"
        )
    return key.strip(), found
