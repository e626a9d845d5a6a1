"""The command `lthrun`: its groups of commands, and its exit status."""

from __future__ import annotations

import errno
import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from lthrun.cli import bench, configs, data, experiments, reproduce, results, sweep
from lthrun.cli.interrupts import Terminated, exit_early, terminate
from lthrun.cli.options import explain_option
from lthrun.errors import UserError, print_error
from lthrun.training.openmp import limit_spinning
from lthrun.version import __version__

app = typer.Typer(
    name="lthrun",
    help="Does this sparse network really train as well as the dense one?\n\n"
    "Lottery ticket experiments on Oxford-IIIT Pet: each command runs its experiment as it is, without a config. "
    "Trained levels are cached and shared between runs.",
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


for group in (experiments, sweep, reproduce, results, data, configs, bench):
    app.add_typer(group.app)


def main() -> None:
    """The `lthrun` command. Exit status: 0 done, 2 user error, 130 interrupted, 143 terminated, 1 anything else."""
    limit_spinning()
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # a service or a batch system may start it with a closed stream
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        status = app(standalone_mode=False)
    except UserError as error:
        fail(str(error))
    except typer.BadParameter as error:
        fail(explain_option(error))
    except typer.TyperException as error:
        fail(error.format_message())
    except OSError as error:
        if error.filename is None and error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        fail(f"{error.filename or 'the disk'}: {error.strerror}")
    except (KeyboardInterrupt, typer.Abort, Terminated) as interrupt:
        exit_early(interrupt)
    finally:
        signal.signal(signal.SIGTERM, before)
    if status == 130:  # Typer's answer to Ctrl-C
        exit_early(KeyboardInterrupt())
    sys.exit(status if isinstance(status, int) else 0)


def fail(message: str) -> None:
    """One line on stderr, exit status 2. There is no message where help was shown because no command was given."""
    if message:
        print_error(message)
    sys.exit(2)
