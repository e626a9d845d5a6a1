"""Connectivity: does the order of the images decide where a training ends? (Frankle et al. 2020, sections 2 and 3)

A network is trained from a rewind point twice, and the two trainings differ in the order of the images alone. Where the
error nowhere rises on the straight line between their ends, the network is stable: both ended in one valley.
"""

from __future__ import annotations

from typing import Any, Literal

import torch

from lthrun.analysis.intervals import STABLE, barrier, barrier_interval, wilson_interval
from lthrun.experiments.summaries import RunSummary
from lthrun.experiments.ticket import ticket
from lthrun.levels.builder import LevelBuilder
from lthrun.levels.plan import Level
from lthrun.records import Interval, Record
from lthrun.sparsity.masks import Tensors
from lthrun.storage.run_dir import RunDir


class PathEnd(Record):
    """One of the two trained networks."""

    key: str
    order: int
    accuracy: float
    accuracy_interval: Interval


class PathResult(Record):
    """Networks on the straight line between two trainings that differ in the order of the images alone."""

    rewind_point: str
    network: Literal["dense", "ticket"]
    sparsity: float
    alphas: list[float]
    """Places on the line, from 0 (the first training) to 1."""
    errors: list[float]
    """Share of the validation images answered wrongly, 0 to 1, at each place."""
    losses: list[float]
    barrier: float
    """The highest error minus the mean of the errors at the ends."""
    interval: Interval
    stable: bool
    ends: list[PathEnd]


class ConnectivitySummary(RunSummary):
    connectivity: list[PathResult]


def connectivity(builder: LevelBuilder, levels: list[Level], run_dir: RunDir) -> dict[str, Any]:
    """Train all pairs, and walk from one end of each to the other.

    Of every rewind point there is the dense network and the ticket; `ticket.safetensors` is that of the last point.
    """
    found = ticket(builder, levels, run_dir)
    pairs = [(level.twin, level) for level in levels if level.twin]
    builder.emit("interpolating", networks=len(pairs) * builder.config.connectivity.points)
    line = Line(builder, run_dir)
    sparsities = {level.key: record["sparsity"] for level, record in zip(levels, found["records"], strict=True)}
    return found | {"connectivity": [line(*pair, sparsities[pair[0].key]) for pair in pairs]}


class Line:
    """Judges networks on the straight line between two levels' ends; what was judged before is not judged again."""

    def __init__(self, builder: LevelBuilder, run_dir: RunDir):
        self.builder, self.run_dir = builder, run_dir
        self.known = run_dir.judgements()

    def __call__(self, one: Level, other: Level, sparsity: float) -> dict[str, Any]:
        """Errors (0 to 1) and losses at evenly spaced alphas from `one` (0) to `other` (1), and the barrier.

        Batch norm's statistics are estimated for each network on the way, its ends included, so that all errors are of
        one kind.
        """
        points = self.builder.config.connectivity.points
        alphas = [k / (points - 1) for k in range(points)]
        judged = [self._judge(one, other, alpha) for alpha in alphas]
        wrong = [[answer == "0" for answer in found["right"]] for found in judged]
        errors = [sum(answers) / len(answers) for answers in wrong]
        height, n = barrier(errors), len(wrong[0])
        ends = [(level, answers) for level, answers in ((one, wrong[0]), (other, wrong[-1]))]
        return {
            "rewind_point": self.builder.points[one.rewind_step],
            "network": "ticket" if one.masked else "dense",
            "sparsity": sparsity,
            "alphas": alphas,
            "errors": errors,
            "losses": [found["loss"] for found in judged],
            "barrier": height,
            "interval": list(barrier_interval(wrong)),
            "stable": height < STABLE,
            "ends": [
                {
                    "key": level.key,
                    "order": level.order,
                    "accuracy": 1 - sum(answers) / n,
                    "accuracy_interval": list(wilson_interval(n - sum(answers), n)),
                }
                for level, answers in ends
            ],
        }

    def _judge(self, one: Level, other: Level, alpha: float) -> dict[str, Any]:
        name = f"{one.key}-{other.key}-{alpha:.6f}"
        if name not in self.known:
            (start, masks), (end, _) = (self.builder.end(level) for level in (one, other))
            found = self.builder.judge(masks, between(start, end, alpha))
            right = "".join("1" if answer else "0" for answer in found.right.tolist())
            self.known[name] = {"loss": found.loss, "right": right}
            self.run_dir.judgement(name, **self.known[name])
        self.builder.emit("judged", name=f"{self.builder.points[one.rewind_step]}, α = {alpha:g}", done=len(self.known))
        return self.known[name]


def between(one: Tensors, other: Tensors, alpha: float) -> Tensors:
    """(1 - α) · one + α · other, tensor by tensor, and to the bit the ends at 0 and 1; counters are those of `one`."""
    return {name: torch.lerp(t, other[name], alpha) if t.is_floating_point() else t for name, t in one.items()}
