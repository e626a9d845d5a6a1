"""What a sweep found, and what a sweep or a comparison would take, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from lthrun.errors import escape_unprintable
from lthrun.report.tables import clock, megabytes, plain_table, with_interval


def sweep_table(rows: Sequence[tuple[Mapping[str, Any], dict[str, Any]]]) -> Table:
    """A row per run: its place in the grid, and its summary's figures; a supermask's row shows the supermask."""
    rates = " or ".join(sorted({f"{100 * summary['majority_rate']:.1f}" for _, summary in rows}))
    table = plain_table(f"Sweep (in %, accuracy with 95 % interval; majority rate {rates} %)")
    keys = list(rows[0][0])
    short = [key.rpartition(".")[2] for key in keys]
    for key, name in zip(keys, short, strict=True):
        table.add_column(Text(name if short.count(name) == 1 else key), overflow="fold")
    for heading in ("accuracy", "balanced", "sparsity"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("run", overflow="fold")
    for place, summary in rows:
        found = summary.get("supermask") or summary
        table.add_row(
            *(Text(escape_unprintable(str(place[key]))) for key in keys),
            with_interval(found["accuracy"], found["accuracy_interval"]),
            f"{100 * found['balanced_accuracy']:.1f}",
            f"{summary['sparsity']:.2f}",
            Text(escape_unprintable(summary["run_dir"].rpartition("/")[2])),
        )
    return table


def shares_table(foreseen: Mapping[str, Any]) -> Table:
    """What `--dry-run` lists of a comparison or a sweep: each level counts where it is needed first."""
    what = "arm" if "arms" in foreseen else "run"
    table = plain_table(
        f"{foreseen['experiment']} on {foreseen['device']} (a level counts at the {what} that needs it first; time: "
        "one after the other)"
    )
    table.add_column(what, overflow="fold")
    for heading in ("levels", "to train", "taken over", "time", "disk"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in foreseen[f"{what}s"]:
        name = Text(escape_unprintable(row["name"]))
        if row.get("finished"):
            table.add_row(name, "", "", "finished", "", "")
        else:
            table.add_row(name, *cost(row))
    table.add_section()
    table.add_row("all", *cost(foreseen))
    return table


def cost(found: Mapping[str, Any]) -> tuple[str, ...]:
    counts = (str(found[key]) for key in ("levels", "train", "taken_over"))
    return (*counts, clock(found["seconds"]), megabytes(found["bytes"]))
