"""What a connectivity run ends with: the error between two trainings, from each rewind point."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from lthrun.analysis.intervals import STABLE
from lthrun.report.tables import add_run, layer_table, plain_table, what, with_interval

BLOCKS = "▁▂▃▄▅▆▇█"
WIDEST = 15  # columns of a curve


def closing(summary: dict[str, Any]) -> Iterable[Any]:
    """A table per rewind point, sparsity per layer, and the panel."""
    paths = summary["connectivity"]
    errors = [error for path in paths for error in path["errors"]]
    low, high = min(errors), max(errors)
    yield ""
    for point, pair in groupby(paths, key=lambda path: path["rewind_point"]):
        yield path_table(point, list(pair), low, high)
    yield Text(
        f"▁ is an error of {100 * low:.1f} % of the validation images, █ of {100 * high:.1f} %. Barrier: the highest "
        "error of the path minus the mean of its ends, in points, with 95 % interval; below 2 is stable; "
        "? marks an interval that spans 2",
        "dim",
    )
    yield ""
    if summary["sparsity"] > 0:
        yield layer_table(summary["levels"][-1]["layers"])
    yield panel(summary)


def path_table(point: str, paths: Sequence[dict[str, Any]], low: float, high: float) -> Table:
    """The dense network and the ticket, trained twice from one rewind point."""
    start = "initialisation" if int(point[:-2]) == 0 else point
    table = plain_table(f"From {start}, in two orders of the images")
    table.add_column("", no_wrap=True)
    table.add_column("sparse %", justify="right", no_wrap=True)
    table.add_column("accuracy %", justify="right", no_wrap=True)
    table.add_column("barrier", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("error on the way", no_wrap=True)
    for path in paths:
        table.add_row(
            path["network"],
            f"{path['sparsity']:.2f}",
            ", ".join(f"{100 * end['accuracy']:.1f}" for end in path["ends"]),
            with_interval(path["barrier"], path["interval"]),
            Text(verdict(path), "green" if decided(path) == "stable" else "yellow"),
            curve(path["errors"], low, high),
        )
    return table


def decided(path: dict[str, Any]) -> str:
    """`stable`, `unstable`, or `undecided` where the interval holds both."""
    low, high = path["interval"]
    return "stable" if high < STABLE else "unstable" if low >= STABLE else "undecided"


def verdict(path: dict[str, Any]) -> str:
    """What the barrier says by itself, with a question mark where its interval leaves it undecided."""
    return ("stable" if path["stable"] else "unstable") + (" ?" if decided(path) == "undecided" else "")


def curve(errors: Sequence[float], low: float, high: float) -> str:
    """Errors along a path as blocks from `low` to `high`; where a column stands for several, the highest."""
    columns = min(len(errors), WIDEST)
    drawn = [0.0] * columns
    for k, error in enumerate(errors):
        column = round(k * (columns - 1) / (len(errors) - 1))
        drawn[column] = max(drawn[column], error)
    most = len(BLOCKS) - 1
    return "".join(BLOCKS[round(most * (error - low) / (high - low)) if high > low else 0] for error in drawn)


def panel(summary: dict[str, Any]) -> Panel:
    """From which rewind points each network is stable, and the run."""
    rows = Table.grid(padding=(0, 2))
    for network in ("dense", "ticket"):
        rows.add_row(network, stable_from([path for path in summary["connectivity"] if path["network"] == network]))
    rows.add_row("majority rate", f"{100 * summary['majority_rate']:.1f} % (always answering the most common class)")
    add_run(rows, summary)
    return Panel(rows, title=what(summary), title_align="left", expand=False, padding=(1, 2))


def stable_from(paths: Sequence[dict[str, Any]]) -> str:
    """The rewind points by what the whole interval says: `unstable from 0ep; stable from 1ep, 2ep`."""
    by_word = {
        word: ", ".join(path["rewind_point"] for path in paths if decided(path) == word)
        for word in ("unstable", "undecided", "stable")
    }
    return "; ".join(f"{word} from {points}" for word, points in by_word.items() if points)


def one_line(summary: dict[str, Any]) -> str:
    barriers = ", ".join(
        f"{path['network']} from {path['rewind_point']} {with_interval(path['barrier'], path['interval'])}"
        for path in summary["connectivity"]
    )
    return (
        f"connectivity: error barrier in points: {barriers}; sparsity {summary['sparsity']:.2f} %, {summary['run_dir']}"
    )
