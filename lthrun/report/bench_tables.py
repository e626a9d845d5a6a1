"""The benchmark's tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.text import Text

from lthrun.report.tables import plain_table


def bench_tables(found: dict[str, Any]) -> Iterable[Any]:
    """All contestants beside the floor, how it was measured, and which precision is the fastest."""
    table = plain_table(f"An epoch of {found['model']} at {found['image_size']} px on {found['device']}")
    table.add_column("what", no_wrap=True)
    table.add_column("precision", no_wrap=True)
    table.add_column("train s/epoch", justify="right")
    for heading in ("× floor", "validation s", "× its floor", "images/s", "× lthrun"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in found["contestants"]:
        if row["skipped"] is None:
            table.add_row(*cells(row))
    yield table
    for row in found["contestants"]:
        if row["skipped"] is not None:
            yield Text(f"{row['name']}, {row['precision']}: skipped: {row['skipped']}", "yellow")
    yield Text(how(found), "dim")
    best = found["fastest_precision"]
    others = "; ".join(f"{name}: {seconds(s)} s" for name, s in found["epochs"].items() if name != best)
    yield Text(
        f"fastest on this machine: precision: {best} (lthrun's epoch and validation take "
        f"{seconds(found['epochs'][best])} s; {others})"
    )


def cells(row: dict[str, Any]) -> Iterable[str]:
    yield row["name"]
    yield row["precision"]
    yield with_spread(row["train"])
    yield f"{row['x_floor']['train']:.2f}"
    yield with_spread(row["validation"])
    yield f"{row['x_floor']['validation']:.2f}"
    yield f"{row['images_per_second']:,.0f}"
    yield f"{row['x_lthrun']:.2f}"


def how(found: dict[str, Any]) -> str:
    part = "an epoch's" if found["steps"] == found["epoch_steps"] else f"{found['steps']} of an epoch's"
    scaled = "" if found["steps"] == found["epoch_steps"] else ", scaled to the epoch"
    machine = found["environment"]
    return (
        f"medians (lowest to highest) of {found['rounds']} rounds in which each has one turn: {part} "
        f"{found['epoch_steps']} steps of {found['batch_size']} images{scaled}, and a validation of "
        f"{found['n_valid']:,} images. × lthrun: training and validation, beside lthrun's in "
        f"{found['precision']}. {found['processor']}, {machine['cores']} cores, "
        f"{machine['threads']} threads, torch {machine['torch']}"
    )


def profile_tables(found: dict[str, Any]) -> Iterable[Any]:
    """Where a step's time goes, by part and by operator."""
    table = plain_table(
        "A training step, by part",
        show_footer=True,
    )
    total = found["step_ms"]
    table.add_column("part", "all", no_wrap=True)
    table.add_column("ms", f"{total:.3f}", justify="right")
    table.add_column("%", "100.0", justify="right")
    for row in found["parts"]:
        table.add_row(row["part"], f"{row['ms']:.3f}", f"{100 * row['ms'] / total:.1f}")
    yield table
    busy = found["device_busy_ms"]
    said = "" if busy is None else f", of which the device computes {busy:.3f} ms"
    yield Text(
        f"{found['model']} on {found['device']} in {found['precision']}, half of the weights held at zero; mean of "
        f"{found['steps']} steps. The engine's own step, not taken apart: {found['engine_step_ms']:.3f} ms{said}",
        "dim",
    )
    table = plain_table("The costliest operators of that step, by their own time")
    table.add_column("operator", overflow="fold")
    for heading in ("calls", "ms", "%"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in found["operators"]:
        table.add_row(row["operator"], f"{row['calls']:.0f}", f"{row['ms']:.3f}", f"{row['percent']:.1f}")
    yield table


def with_spread(found: dict[str, float]) -> str:
    """A median with its range: `53.2 (52.9–55.0)`."""
    return f"{seconds(found['median'])} ({seconds(found['lowest'])}–{seconds(found['highest'])})"


def seconds(value: float) -> str:
    """Three digits that count, to the millisecond: `112`, `53.2`, `0.251`."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.{3 if value < 1 else 2 if value < 10 else 1}f}"
