"""The figures of a benchmark: epochs, medians, ranges and ratios."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from lthrun.bench.rounds import Implementation


def summarize(implementations: Sequence[Implementation], facts: Mapping[str, Any]) -> dict[str, Any]:
    """One object per implementation, the floor of each precision, and the fastest precision.

    The floor is the fastest that PyTorch's own ways to run the model reach. `facts` has the steps of a round and of an
    epoch, the batch size, and the precision that lthrun uses by default.
    """
    rows = [summarize_one(implementation, facts) for implementation in implementations]
    timed = [row for row in rows if row["skipped"] is None]
    floors: dict[str, dict[str, float]] = {}
    for row in timed:
        if row["name"].startswith("floor"):
            floor = floors.setdefault(row["precision"], {})
            for part in ("train", "validation"):
                floor[part] = min(floor.get(part, row[part]["median"]), row[part]["median"])
    epochs = {row["precision"]: row["epoch"] for row in timed if row["name"] == "lthrun"}
    for row in timed:
        row["x_floor"] = {part: row[part]["median"] / seconds for part, seconds in floors[row["precision"]].items()}
        row["x_lthrun"] = row["epoch"] / epochs[facts["precision"]]
    return {
        "implementations": rows,
        "floors": floors,
        "epochs": epochs,
        "fastest_precision": min(epochs, key=epochs.__getitem__),
    }


def summarize_one(implementation: Implementation, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Timings of each round, and scaled to an epoch."""
    row = {
        "name": implementation.name,
        "precision": implementation.precision,
        "skipped": implementation.unavailable,
    }
    if implementation.unavailable:
        return row
    scale = facts["epoch_steps"] / facts["steps"]
    train = median_and_range([seconds * scale for seconds in implementation.train_seconds])
    validation = median_and_range(implementation.validate_seconds)
    return row | {
        "turns": {"train": implementation.train_seconds, "validation": implementation.validate_seconds},
        "train": train,
        "validation": validation,
        "epoch": train["median"] + validation["median"],
        "images_per_second": facts["epoch_steps"] * facts["batch_size"] / train["median"],
    }


def median_and_range(seconds: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(seconds), "lowest": min(seconds), "highest": max(seconds)}
