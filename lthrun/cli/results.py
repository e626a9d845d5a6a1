"""The commands that look back on what was run. Torch and matplotlib come in inside them only."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lthrun.cli import options as opt
from lthrun.cli.data import PANEL, print_json
from lthrun.errors import escape_unprintable

if TYPE_CHECKING:
    from lthrun.report.records import Records

app = typer.Typer()


@app.command(rich_help_panel=PANEL)
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN…", help="Directories of finished runs or comparisons.")],
    tensorboard: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Also write event files for TensorBoard, a folder per training."),
    ] = None,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Tables, figures and one HTML page of what was found, from the run's directory alone."""
    from lthrun.report.publish import publish
    from lthrun.report.records import read_records
    from lthrun.report.screen import make_console

    if tensorboard is not None:
        from lthrun.report.tensorboard import need_tensorboard, write_events

        need_tensorboard()
    found = [read_records(run) for run in runs]
    console = make_console(stderr=json)
    for records in found:
        page = publish(records)
        if tensorboard is not None:
            write_events(records, tensorboard)
        if not json and not quiet:
            console.print(*told(records), sep="\n")
        print(f"report: {escape_unprintable(str(page))}", file=sys.stderr if json else sys.stdout)
    if json:
        print_json(found[0].summary if len(found) == 1 else [records.summary for records in found])


def told(records: Records) -> Iterable[Any]:
    """What was found, for the terminal."""
    from lthrun.report.study_tables import study_summary
    from lthrun.report.tables import closing

    return study_summary(records.summary) if records.is_study else closing(records.summary)
