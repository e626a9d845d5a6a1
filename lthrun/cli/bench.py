"""The command `bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lthrun.cli import options as opt
from lthrun.cli.data import offer_download
from lthrun.cli.printing import print_json
from lthrun.experiments import EXPERIMENTS

app = typer.Typer()
KEYS = [
    opt.key_option(EXPERIMENTS["baseline"].make, key)
    for key in ("model.name", "device", "deterministic", "data.dir", "data.skip_unreadable")
]


def bench(
    config: opt.ConfigFile = None,
    set: opt.Sets = [],
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each implementation.")] = 5,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Training steps of a turn.", show_default="an epoch on CUDA, 12 on the CPU"),
    ] = None,
    peers: Annotated[
        Path | None, typer.Option(metavar="PYTHON", help="An interpreter that has fastai and fasterai.")
    ] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Instead: where the time of a step goes.")] = False,
    overhead: Annotated[bool, typer.Option("--overhead", help="Instead: what a run costs beside its steps.")] = False,
    json: opt.Json = False,
    **typed: Any,
) -> None:
    from lthrun import bench as benchmark
    from lthrun.bench.overhead import measure_overhead
    from lthrun.experiments import load_config
    from lthrun.report.bench_tables import bench_table, overhead_table, profile_tables
    from lthrun.report.screen import Screen
    from lthrun.report.terminal import make_console, show_tables

    settings = load_config(config, None, set, opt.by_key(KEYS, typed))

    def measure() -> dict[str, Any]:
        if profile:
            return benchmark.profile(settings, steps, screen)
        if overhead:
            return measure_overhead(settings, rounds, screen)
        return benchmark.bench(settings, rounds, steps, peers, screen)

    with Screen(make_console(stderr=json)) as screen:
        measured = offer_download(measure, settings.data.dataset, screen)
    if json:
        print_json(measured)
    else:
        tables = [overhead_table(measured)] if overhead else [bench_table(measured)]
        show_tables(make_console(), profile_tables(measured) if profile else tables)


about = "Time an epoch beside the machine's floor, a plain PyTorch loop and fasterai, in turns."
app.command(help=about, rich_help_panel="Data, configs and results")(opt.with_key_options(bench, KEYS))
