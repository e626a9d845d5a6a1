"""The options that commands share, each written once. An option left out is None: the config decides."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

WHAT, WHERE, HOW = "What is run", "Where", "How it is shown"
ConfigFile = Annotated[
    str | None,
    typer.Option("--config", metavar="FILE", help="YAML config, or the name of a shipped one.", rich_help_panel=WHAT),
]
Sets = Annotated[
    list[str],
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Overrule a config key. Repeatable.", rich_help_panel=WHAT),
]
Seed = Annotated[
    int | None,
    typer.Option(
        help="Decides initialisation, data order, augmentation, random masks.",
        show_default="0",
        rich_help_panel=WHAT,
    ),
]
Epochs = Annotated[int | None, typer.Option(help="Epochs of each level.", show_default="5", rich_help_panel=WHAT)]
RewindEpoch = Annotated[
    int | None,
    typer.Option(
        help="Go back to the weights after this epoch; 0: initialisation.",
        show_default="0",
        rich_help_panel=WHAT,
    ),
]
Sparsity = Annotated[
    float | None,
    typer.Option(
        help="Percent of the prunable weights that are zero in the end.",
        show_default="50",
        rich_help_panel=WHAT,
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(help="Number of prunings; one more level than that.", show_default="3", rich_help_panel=WHAT),
]
Protocol = Annotated[
    Literal["frankle", "fasterai"] | None,
    typer.Option(help="What happens between two levels.", show_default="frankle", rich_help_panel=WHAT),
]
BatchNorm = Annotated[
    Literal["recalibrate", "initial", "trained"] | None,
    typer.Option(help="Running statistics the mask is judged with.", show_default="recalibrate", rich_help_panel=WHAT),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Train this run's levels anew.", rich_help_panel=WHAT)]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Only say what would be trained or taken over, and what it costs.",
        rich_help_panel=WHAT,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        metavar="auto|cpu|cuda:0|…",
        help="auto is cuda:0 if there is one.",
        show_default="auto",
        rich_help_panel=WHERE,
    ),
]
DataDir = Annotated[
    str | None,
    typer.Option(
        metavar="DIR",
        help="An existing copy of the images; for Pets DIR/images or DIR/oxford-iiit-pet/images.",
        rich_help_panel=WHERE,
    ),
]
SkipUnreadable = Annotated[
    bool,
    typer.Option("--skip-unreadable", help="Leave out images that cannot be read.", rich_help_panel=WHERE),
]
Out = Annotated[
    Path,
    typer.Option(metavar="DIR", help="Root of run directories and of the levels they share.", rich_help_panel=WHERE),
]
Json = Annotated[
    bool,
    typer.Option("--json", help="The summary as JSON on stdout, all else on stderr.", rich_help_panel=HOW),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="One line at the end.", rich_help_panel=HOW)]
Experiment = Annotated[
    Literal["baseline", "ticket", "supermask"] | None,
    typer.Argument(help="Whose defaults, where no config says so.", show_default="ticket"),
]
