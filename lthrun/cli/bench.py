"""The command `bench`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lthrun.cli import options as opt
from lthrun.cli.data import offer_download

if TYPE_CHECKING:
    from lthrun.report.tables import Table

app = typer.Typer()
KEYS = opt.common_options("model.name", "device", "deterministic", "data.dir", "data.skip_unreadable")


@app.command(rich_help_panel="Data, configs and results")
@opt.key_options(KEYS)
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
    """Time an epoch beside the machine's floor, a plain PyTorch loop and fasterai, in turns."""
    from lthrun import bench as benchmark
    from lthrun.bench.overhead import measure_overhead
    from lthrun.events import Busy, Event
    from lthrun.experiments import load_config
    from lthrun.report.bench_tables import bench_tables, overhead_tables, profile_tables
    from lthrun.report.screen import Screen
    from lthrun.report.terminal import make_console, print_json, show_tables

    settings = load_config(config, None, set, opt.by_key(KEYS, typed))

    def emit(event: Event) -> None:
        """Without a terminal, which shows progress, what is being timed is a line: a benchmark takes minutes."""
        if isinstance(event, Busy) and not screen.console.is_terminal:
            screen.say(event.doing)
        else:
            screen(event)

    measure: Callable[[], dict[str, Any]]
    tables: Callable[[dict[str, Any]], Iterable[Table]]
    if profile:
        measure, tables = lambda: benchmark.profile(settings, steps, emit), profile_tables
    elif overhead:
        measure, tables = lambda: measure_overhead(settings, rounds, emit), overhead_tables
    else:
        measure, tables = lambda: benchmark.bench(settings, rounds, steps, peers, emit), bench_tables

    with Screen(make_console(stderr=True)) as screen:
        measured = offer_download(measure, settings.data.dataset, screen)
    if json:
        print_json(measured)
    else:
        show_tables(make_console(), tables(measured))
