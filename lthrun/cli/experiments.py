"""One command per experiment, and `resume`. Torch is imported inside them only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lthrun.cli import options as opt
from lthrun.cli.data import offer_download
from lthrun.cli.interrupts import INTERRUPTS, exit_interrupted
from lthrun.config.fields import CHECKPOINT_EVERY
from lthrun.errors import UserError
from lthrun.experiments import EXPERIMENTS
from lthrun.experiments.experiment import Experiment

app = typer.Typer()
PANEL = "Experiments"


def add_command(name: str, experiment: Experiment) -> None:
    """Add the command of an experiment; a study also has the options of its executor."""
    keys = [opt.key_option(experiment.make, key) for key in (*experiment.options, *opt.COMMON)]

    def command(
        config: opt.ConfigFile = None,
        set: opt.Sets = [],
        fresh: opt.Fresh = False,
        checkpoint_every: opt.CheckpointEvery = CHECKPOINT_EVERY,
        dry_run: opt.DryRun = False,
        out: opt.Out = Path("runs"),
        executor: opt.Executor = "local",
        jobs: opt.Jobs = None,
        json: opt.Json = False,
        quiet: opt.Quiet = False,
        **typed: Any,
    ) -> None:
        from lthrun.experiments import load_config

        loaded = load_config(config, name, set, opt.by_key(keys, typed))
        if dry_run:
            show_dry_run(loaded, out, fresh, json, quiet)
            return
        how = {"fresh": fresh, "checkpoint_every": checkpoint_every, "executor": executor, "jobs": jobs}
        run_and_report("run", (loaded, out), loaded.data.dataset, how, json, quiet)

    without = [] if experiment.is_study else ["executor", "jobs"]
    app.command(name, help=experiment.about, rich_help_panel=PANEL)(opt.key_options(keys, without)(command))


for _name, _experiment in EXPERIMENTS.items():
    add_command(_name, _experiment)


@app.command(rich_help_panel=PANEL)
def resume(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory: `lthrun runs` lists them.")],
    data_dir: opt.DataDir = None,
    device: opt.SameDevice = None,
    checkpoint_every: opt.CheckpointEvery = CHECKPOINT_EVERY,
    executor: opt.Executor = "local",
    jobs: opt.Jobs = None,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Resume a run that was stopped, as it was started; its images may lie at another place by now."""
    from lthrun.experiments import read_config

    moved = {key: value for key, value in {"data.dir": data_dir, "device": device}.items() if value is not None}
    how = {"checkpoint_every": checkpoint_every, "executor": executor, "jobs": jobs, **moved}
    run_and_report("resume", (run,), read_config(run).data.dataset, how, json, quiet)


def run_and_report(
    function: str, arguments: tuple[Any, ...], dataset: str, how: dict[str, Any], as_json: bool, quiet: bool
) -> None:
    """Call lthrun.run or lthrun.resume with a screen, and report the result."""
    import lthrun
    from lthrun.experiments.summaries import StudySummary
    from lthrun.report.screen import Screen
    from lthrun.report.terminal import make_console, print_json

    with Screen(make_console(stderr=as_json), quiet) as screen:
        try:
            action = getattr(lthrun, function)
            result = offer_download(lambda: action(*arguments, emit=screen, **how), dataset, screen)
        except INTERRUPTS as interrupt:
            screen.show_interrupted(is_fresh=bool(how.get("fresh")))
            exit_interrupted(interrupt)
        screen.show_result(result.summary)
    if as_json:
        print_json(result.summary.model_dump(mode="json"))
    if isinstance(result.summary, StudySummary) and result.summary.missing:
        missing = result.summary.missing
        first = f"{missing[0].arm} of seed {missing[0].seed}: {missing[0].reason}"
        raise UserError(
            f"compare: {len(missing)} results are missing; the first, {first} (repeat the command to retry)"
        )


def show_dry_run(config: Any, out: Path, fresh: bool, as_json: bool, quiet: bool) -> None:
    from lthrun.experiments.dry_run import foresee_run
    from lthrun.experiments.run import prepare_run
    from lthrun.report.screen import Screen
    from lthrun.report.terminal import make_console, print_json

    with Screen(make_console(stderr=as_json), quiet) as screen:
        run = offer_download(lambda: prepare_run(config.largest(), screen), config.data.dataset, screen)
        dry_run = foresee_run(run, out, fresh, config)
        if as_json:
            print_json(dry_run.model_dump(mode="json"))
        else:
            screen.show_dry_run(dry_run)
