"""The command `reproduce`: the published claims of a source, measured again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lthrun.cli import options as opt
from lthrun.cli.data import offer_download
from lthrun.cli.interrupts import INTERRUPTS, exit_interrupted
from lthrun.config.fields import CHECKPOINT_EVERY
from lthrun.errors import UserError
from lthrun.reproductions import reproduce as reproducing

app = typer.Typer()


@app.command(rich_help_panel="Experiments")
def reproduce(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose claims: `lthrun list reproductions`.")],
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Seeds of each part.", show_default="as NAME has it", rich_help_panel=opt.WHAT
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer seeds and shorter trainings.", rich_help_panel=opt.WHAT)
    ] = False,
    config: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="YAML config whose settings replace those of every part.", rich_help_panel=opt.WHAT
        ),
    ] = None,
    data_dir: opt.DataDir = None,
    checkpoint_every: opt.CheckpointEvery = CHECKPOINT_EVERY,
    dry_run: opt.DryRun = False,
    out: opt.Out = Path("runs"),
    jobs: opt.Jobs = None,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Measure the published claims of a source again: runs what is needed, and answers each claim by a fixed rule."""
    from lthrun.executors.tasks import RunOptions
    from lthrun.report.reproduction_report import publish_reproduction, reproduction_report
    from lthrun.report.screen import Screen
    from lthrun.report.terminal import make_console, print_json

    plan = reproducing.plan_reproduction(name, seeds, quick, config, data_dir)
    with Screen(make_console(stderr=json), quiet) as screen:
        runs = offer_download(lambda: plan.prepare(screen), plan.dataset, screen)
        if dry_run:
            foreseen = reproducing.foresee(plan, runs, out)
            if json:
                print_json(foreseen.model_dump(mode="json"))
            else:
                screen.show_dry_run(foreseen)
                for sentence in filter(None, (*reproducing.list_changes(plan), plan.entry.cost)):
                    screen.say(sentence)
            return
        try:
            summary = reproducing.reproduce(plan, runs, RunOptions(out, False, checkpoint_every, jobs=jobs), screen)
        except INTERRUPTS as interrupt:
            screen.show_interrupted()
            exit_interrupted(interrupt)
        publish_reproduction(summary)
        screen.show_report(reproduction_report(summary), name, summary.run_dir)
    if json:
        print_json(summary.model_dump(mode="json"))
    if summary.missing:
        raise UserError(
            f"reproduce: {len(summary.missing)} results are missing; the first, {summary.missing[0]} (repeat the "
            "command to retry)"
        )
