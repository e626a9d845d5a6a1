"""What follows from the timings: epochs, medians, spread, and ratios."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from lthrun.bench.rounds import Contestant


def summarise(contestants: Sequence[Contestant], facts: Mapping[str, Any]) -> dict[str, Any]:
    """One object per contestant, the floor of each precision, and the fastest precision.

    `facts` gives the steps of a turn and of an epoch, the batch size, and the precision that lthrun takes by itself.
    """
    rows = [row(contestant, facts) for contestant in contestants]
    there = [r for r in rows if r["skipped"] is None]
    floors: dict[str, dict[str, float]] = {}
    for r in there:
        if r["name"].startswith("floor"):
            own = floors.setdefault(r["precision"], {})
            for part in ("train", "validation"):
                own[part] = min(own.get(part, r[part]["median"]), r[part]["median"])
    ours = {r["precision"]: r["epoch"] for r in there if r["name"] == "lthrun"}
    for r in there:
        r["x_floor"] = {part: r[part]["median"] / s for part, s in floors[r["precision"]].items()}
        r["x_lthrun"] = r["epoch"] / ours[facts["precision"]]
    return {"contestants": rows, "floors": floors, "epochs": ours, "fastest_precision": min(ours, key=ours.__getitem__)}


def row(contestant: Contestant, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Timings as they were taken, and scaled to an epoch."""
    said = {"name": contestant.name, "precision": contestant.precision, "skipped": contestant.skipped}
    if contestant.skipped:
        return said
    scale = facts["epoch_steps"] / facts["steps"]
    train = spread([seconds * scale for seconds in contestant.trained])
    validation = spread(contestant.validated)
    return said | {
        "turns": {"train": contestant.trained, "validation": contestant.validated},
        "train": train,
        "validation": validation,
        "epoch": train["median"] + validation["median"],
        "images_per_second": facts["epoch_steps"] * facts["batch_size"] / train["median"],
    }


def spread(seconds: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(seconds), "lowest": min(seconds), "highest": max(seconds)}
