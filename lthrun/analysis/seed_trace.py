"""How the answer to a question came about: its estimate and interval after each seed of a study."""

from __future__ import annotations

from dataclasses import dataclass

from lthrun.analysis.seed_means import FEWEST_SEEDS, estimate
from lthrun.analysis.sequential import ERROR, Look
from lthrun.analysis.study_records import Comparison, StudyFindings
from lthrun.records import Interval


@dataclass(frozen=True)
class TracePoint:
    """The mean difference over the first `seeds` seeds of a study.

    Attributes:
        interval: at a look the planned one, which decides; elsewhere that of 95 %, which decides nothing.
        is_look: whether the study was answered there.
    """

    seeds: int
    mean: float
    interval: Interval
    confidence: float
    is_look: bool


def trace_estimate(row: Comparison, study: StudyFindings, step: float) -> list[TracePoint]:
    """From three seeds on. `step` is the smallest difference that the measure can show, in the unit of `row`."""
    known, points = dict(zip(row.seeds, row.differences, strict=True)), []
    for n in range(FEWEST_SEEDS, len(study.seeds) + 1):
        values = [known[seed] for seed in study.seeds[:n] if seed in known]
        if len(values) >= FEWEST_SEEDS:
            is_look = n in study.looks
            level = Look(n, study.most_seeds, tuple(study.looks)).level() if is_look else ERROR
            summary = estimate(values, step)
            points.append(TracePoint(n, summary.mean, summary.interval(1 - level), 1 - level, is_look))
    return points
