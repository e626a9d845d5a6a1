"""What the report of a connectivity run adds: the error barrier between two trainings, from each rewind point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lthrun.analysis.intervals import STABLE
from lthrun.report.tables import Answer, Cell, Column, Row, Table
from lthrun.report.text_charts import block_chart
from lthrun.report.wording import with_interval

if TYPE_CHECKING:
    from lthrun.experiments.connectivity import ConnectivitySummary, PathResult


def stability(path: PathResult) -> str:
    """`stable`, `unstable`, or `undecided` where the interval holds both."""
    low, high = path.interval
    return "stable" if high < STABLE else "unstable" if low >= STABLE else "undecided"


def answer(summary: ConnectivitySummary) -> Answer:
    paths = summary.connectivity
    last = stability(paths[-1])
    sentences = [
        f"The {network} is {rewind_points_by_stability([p for p in paths if p.network == kind])}."
        for kind, network in (("ticket", "ticket"), ("dense", "dense network"))
    ]
    explained = (
        f"Stable: the error barrier between the two trainings is below {100 * STABLE:g} points, interval included."
    )
    word = f"{last} from {paths[-1].rewind_point}"
    return Answer(word, "good" if last == "stable" else "open", [*sentences, explained])


def rewind_points_by_stability(paths: Sequence[PathResult]) -> str:
    """`unstable from 0ep; stable from 1ep, 2ep`"""
    by_word = {
        word: ", ".join(path.rewind_point for path in paths if stability(path) == word)
        for word in ("unstable", "undecided", "stable")
    }
    return "; ".join(f"{word} from {points}" for word, points in by_word.items() if points)


def tables(summary: ConnectivitySummary) -> list[Table]:
    paths = summary.connectivity
    errors = [error for path in paths for error in path.errors]
    low, high = min(errors), max(errors)
    rows: list[Row] = []
    for path in paths:
        ends = ", ".join(f"{100 * end.accuracy:.1f}" for end in path.ends)
        word = Cell(stability(path), "good" if stability(path) == "stable" else "open")
        barrier, chart = with_interval(path.barrier, path.interval), block_chart(path.errors, low, high)
        rows.append([path.rewind_point, path.network, f"{path.sparsity:.2f}", ends, barrier, word, chart])
    sparsity = Column("sparse %", is_text=False, only="page")
    chart_column = Column(f"error {100 * low:.0f} to {100 * high:.0f} %", only="terminal")
    return [
        Table(
            "Error barrier between two trainings that differ in data order",
            ["from", Column("network"), sparsity, "accuracy %", "barrier, points", Column(""), chart_column],
            rows,
            "Accuracy: at both ends of the path. Barrier: the highest error on the path minus the mean of its ends, "
            f"with 95 % interval; stable below {100 * STABLE:g} points.",
        )
    ]
