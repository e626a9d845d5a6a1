"""The commands that look back on what was run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lthrun.cli import options as opt
from lthrun.errors import escape_unprintable

app = typer.Typer()
runs_app = typer.Typer(invoke_without_command=True)
PANEL = "Data, configs and results"
app.add_typer(runs_app, name="runs", rich_help_panel=PANEL)


@app.command(rich_help_panel=PANEL)
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN…", help="Directories of finished runs or studies.")],
    tensorboard: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Also write event files for TensorBoard, a folder per training."),
    ] = None,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Tables, figures and one HTML page of a result, from the run's directory alone."""
    from lthrun.report.publish import publish
    from lthrun.report.records import read_records
    from lthrun.report.screen import Screen
    from lthrun.report.terminal import make_console, print_json

    if tensorboard is not None:
        from lthrun.report.tensorboard import check_tensorboard, write_events

        check_tensorboard()
    records = [read_records(run) for run in runs]
    for record in records:
        page = publish(record)
        if tensorboard is not None:
            write_events(record, tensorboard)
        if not json and not quiet:
            with Screen(make_console()) as screen:
                screen.show_result(record.summary)
        print(f"report: {escape_unprintable(str(page))}", file=sys.stderr if json else sys.stdout)
    if json:
        summaries = [record.summary.model_dump(mode="json") for record in records]
        print_json(summaries[0] if len(summaries) == 1 else summaries)


@runs_app.callback()
def runs(context: typer.Context, out: opt.Out = Path("runs"), json: opt.Json = False) -> None:
    """The finished runs and studies, oldest first; `clean` frees disk."""
    from lthrun.experiments.reading import list_finished
    from lthrun.report.lists import runs_table, studies_table
    from lthrun.report.terminal import make_console, print_json, show_tables
    from lthrun.storage.run_dir import RunDir

    context.obj = out
    if context.invoked_subcommand:
        return
    folders = [path.parent for path in sorted(out.glob("*/summary.json"))]
    foreign = [folder.name for folder in folders if RunDir(folder).other_format() is not None]
    if foreign:
        print(
            f"lthrun: not shown, because another version of lthrun wrote them: {', '.join(foreign)}; use the version "
            "that environment.json names",
            file=sys.stderr,
        )
    finished = list_finished(out)
    if json:
        print_json([summary.model_dump(mode="json") | {"finished": when} for when, summary in finished])
    elif finished:
        tables = [table(finished, str(out)) for table in (runs_table, studies_table)]
        show_tables(make_console(), [table for table in tables if table.rows])
    else:
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
    from lthrun.report.lists import leftovers_table
    from lthrun.report.terminal import make_console, show_tables
    from lthrun.report.wording import megabytes
    from lthrun.storage.cleaning import list_leftovers, remove_leftovers

    root = opt.check_out(out) if out else context.obj
    leftovers = list_leftovers(root, keep)
    if not leftovers:
        print(f"nothing to remove in {root}")
        return
    show_tables(make_console(), [leftovers_table(leftovers, str(root))])
    if not yes:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            print("nothing was removed: --yes removes it")
            return
        typer.confirm("Remove this?", abort=True)
    print(f"{megabytes(remove_leftovers(root, leftovers))} freed")
