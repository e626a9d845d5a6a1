"""The benchmark's tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lthrun.report.tables import Column, Table
from lthrun.report.wording import plural


def bench_tables(facts: dict[str, Any]) -> Iterable[Table]:
    """All implementations beside the floor, how they were measured, and which precision is the fastest."""
    rows = [implementation_row(row) for row in facts["implementations"] if row["skipped"] is None]
    skipped = [
        f"{row['name']}, {row['precision']}, skipped: {row['skipped']}."
        for row in facts["implementations"]
        if row["skipped"] is not None
    ]
    headings = ("train s/epoch", "× floor", "validation s", "× its floor", "images/s", "× lthrun")
    yield Table(
        f"An epoch of {facts['model']} at {facts['image_size']} px on {facts['device']}",
        ["implementation", Column("precision"), *headings],
        rows,
        "\n".join([*skipped, describe_measurement(facts), describe_fastest(facts)]),
    )


def implementation_row(row: dict[str, Any]) -> list[str]:
    return [
        row["name"], row["precision"], with_range(row["train"]), f"{row['x_floor']['train']:.2f}",
        with_range(row["validation"]), f"{row['x_floor']['validation']:.2f}", f"{row['images_per_second']:,.0f}",
        f"{row['x_lthrun']:.2f}",
    ]  # fmt: skip


def describe_measurement(facts: dict[str, Any]) -> str:
    is_whole = facts["steps"] == facts["epoch_steps"]
    part = "all" if is_whole else f"{facts['steps']} of the"
    scaled = "" if is_whole else ", scaled to the epoch"
    machine = facts["environment"]
    return (
        f"Medians (lowest to highest) of {facts['rounds']} rounds of one turn each: {part} {facts['epoch_steps']} "
        f"steps of an epoch, {facts['batch_size']} images each{scaled}, and a validation on {facts['n_valid']:,} "
        f"images. × lthrun: training and validation relative to lthrun in {facts['precision']}. {facts['processor']}, "
        f"{plural(machine['cores'], 'core')}, {plural(machine['threads'], 'thread')}, torch {machine['torch']}."
    )


def describe_fastest(facts: dict[str, Any]) -> str:
    best = facts["fastest_precision"]
    times = {name: f"{seconds(time)} s" for name, time in facts["epochs"].items()}
    others = "".join(f"; {name}: {time}" for name, time in times.items() if name != best)
    return f"Fastest on this machine: precision: {best} (lthrun's epoch with validation takes {times[best]}{others})."


def overhead_tables(facts: dict[str, Any]) -> Iterable[Table]:
    """What a run costs beside its training steps."""
    yield Table(
        f"Beside the steps of {facts['model']} at {facts['image_size']} px",
        ["part", "ms", "lowest", "highest", "n"],
        [
            [row["part"], *(f"{1000 * row[name]:,.1f}" for name in ("median", "lowest", "highest")), str(row["n"])]
            for row in facts["parts"]
        ],
        f"Medians of {facts['rounds']} rounds: a ticket, the same again, and a supermask that reuses its levels.",
    )


def profile_tables(facts: dict[str, Any]) -> Iterable[Table]:
    """The time of a step, by part and by operator."""
    total, busy = facts["step_ms"], facts["device_busy_ms"]
    computing = "" if busy is None else f", of which the device computes {busy:.3f} ms"
    yield Table(
        "A training step, by part",
        ["part", "ms", "%"],
        [[row["part"], f"{row['ms']:.3f}", f"{100 * row['ms'] / total:.1f}"] for row in facts["parts"]],
        f"{facts['model']} on {facts['device']} in {facts['precision']}, half of the weights pruned; mean of "
        f"{facts['steps']} steps. The engine's own step, undivided: {facts['engine_step_ms']:.3f} ms{computing}.",
        ["all", f"{total:.3f}", "100.0"],
    )
    yield Table(
        "The operators of that step with the highest own time",
        ["operator", "calls", "ms", "%"],
        [
            [row["operator"], f"{row['calls']:.0f}", f"{row['ms']:.3f}", f"{row['percent']:.1f}"]
            for row in facts["operators"]
        ],
    )


def with_range(times: dict[str, float]) -> str:
    """A median with its range: `53.2 (52.9–55.0)`."""
    return f"{seconds(times['median'])} ({seconds(times['lowest'])}–{seconds(times['highest'])})"


def seconds(value: float) -> str:
    """Three significant digits, to the millisecond: `112`, `53.2`, `0.251`."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.{3 if value < 1 else 2 if value < 10 else 1}f}"
