"""The commands about configs: show, check, schema, the names that they can choose, schedules."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from lthrun.cli import options as opt
from lthrun.errors import UserError, print_error

app = typer.Typer()
config_app = typer.Typer(no_args_is_help=True, help="Show, check and describe experiment configs.")
PANEL = "Data, configs and results"
app.add_typer(config_app, name="config", rich_help_panel=PANEL)


@config_app.command()
def show(experiment: opt.ExperimentName = None, config: opt.ConfigFile = None, set: opt.Sets = []) -> None:
    """The resolved YAML: defaults, file and settings combined."""
    from lthrun.config.loading import dump
    from lthrun.experiments import load_config

    print(dump(load_config(config, experiment, set)), end="")


@config_app.command()
def check(files: Annotated[list[str], typer.Argument(metavar="FILE…", help="YAML configs.")]) -> None:
    """Validate configs, and run nothing. Exit status 2 if one of them is wrong."""
    from lthrun.experiments import load_config

    status = 0
    for file in files:
        try:
            print(f"{file}: a valid {load_config(file).experiment} config")
        except UserError as error:
            print_error(str(error))
            status = 2
    raise typer.Exit(status)


@config_app.command()
def schema(
    of: Annotated[
        Literal["config", "summary"], typer.Option(help="config: what editors need; summary: summary.json.")
    ] = "config",
) -> None:
    """The JSON Schema of configs, by which editors complete and check the YAML, or of summary.json."""
    from lthrun.experiments.schemas import config_schema, summary_schema
    from lthrun.report.terminal import print_json

    print_json(config_schema() if of == "config" else summary_schema())


@app.command("list", rich_help_panel=PANEL)
def list_names(
    table: Annotated[str | None, typer.Argument(help="One table only, e.g. criteria.", show_default="all")] = None,
) -> None:
    """Every name that a config can choose, with one line on each."""
    from lthrun.experiments.listing import LISTED
    from lthrun.report.lists import name_lines
    from lthrun.report.terminal import make_console

    if table is not None and table not in LISTED:
        raise UserError(f"list: found {table}; must be one of {', '.join(LISTED)}")
    width = make_console().width
    for title, (key, names) in LISTED.items():
        if table in (None, title):
            print(*name_lines(title, key, names, width), sep="\n")


@app.command(rich_help_panel=PANEL)
def schedule(
    name: Annotated[str, typer.Argument(help="One of `lthrun list schedules`.")],
    sparsity: Annotated[float, typer.Option(help="Percent at the end.")] = 50.0,
    initial_sparsity: Annotated[float, typer.Option(help="Percent at the start.")] = 0.0,
    steps: Annotated[int, typer.Option(help="Number of pruning steps.")] = 3,
    sparsities: Annotated[str, typer.Option(help="The percents of custom, e.g. 20,36,50.")] = "",
) -> None:
    """Plot a schedule, and list the sparsity after each pruning step."""
    from lthrun.experiments import load_config
    from lthrun.registry import TABLES
    from lthrun.report.lists import schedule_chart, schedule_table
    from lthrun.report.terminal import make_console, show_tables

    keys: dict[str, Any] = {
        "schedule": name, "sparsity": sparsity, "initial_sparsity": initial_sparsity, "steps": steps,
    }  # fmt: skip
    if sparsities:
        keys["sparsities"] = opt.parse_list(sparsities, "--sparsities")
    config: Any = load_config(None, "prune", options={f"pruning.{key}": value for key, value in keys.items()})
    curve = [TABLES["schedules"][name](k / 100, config.pruning.params) for k in range(101)]
    console, after = make_console(), config.pruning.level_targets()[1:]
    print(*schedule_chart(name, curve, after, console.width), sep="\n")
    show_tables(console, [schedule_table(after)])
