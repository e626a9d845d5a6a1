"""The primary difference and its interval against the number of seeds: how the answer came about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lthrun.analysis.seed_trace import TracePoint
from lthrun.experiments.summaries import StudySummary
from lthrun.report.figures.layout import Margins, make_panels
from lthrun.report.figures.plot import FIGURES, Plot
from lthrun.report.figures.style import FAINT, INK, MUTED
from lthrun.report.study_report import trace_primary
from lthrun.report.wording import at_sparsity


@FIGURES.register("The answer, seed by seed", "estimate-by-seeds", of="StudySummary")
def estimate_by_seeds(summary: StudySummary, metrics: Sequence[dict[str, Any]]) -> Plot:
    """The mean of the primary differences over the first 3, 4, … seeds."""
    points = trace_primary(summary)
    sparsity = summary.primary.sparsity if summary.primary else None
    rows = [
        {"seeds": p.seeds, "mean": p.mean, "low": p.interval[0], "high": p.interval[1], "confidence": p.confidence,
         "is_look": p.is_look}
        for p in points
    ]  # fmt: skip
    return Plot(
        f"Mean difference in accuracy, ticket minus dense{at_sparsity(sparsity)}, over the seeds so far. Dots: where "
        "the study was answered, with the intervals that decide. The band shows 95 % intervals between them, which "
        f"decide nothing. Gray: the equivalence margin of ±{summary.margin:g} points.",
        rows,
        lambda narrow: draw(points, summary.margin, summary.most_seeds, narrow),
    )


def draw(points: Sequence[TracePoint], margin: float, most_seeds: int, narrow: bool) -> Figure:
    figure, (axes,) = make_panels(narrow, 1, 2.4, Margins(left=0.5))
    x = [point.seeds for point in points]
    lows, highs = zip(*(point.interval for point in points), strict=True)
    axes.axhspan(-margin, margin, color=FAINT, linewidth=0)
    axes.axhline(0, color=MUTED, linewidth=0.8)
    axes.fill_between(x, lows, highs, color=INK, alpha=0.1, linewidth=0)
    axes.plot(x, [point.mean for point in points], color=INK)
    for point in points:
        if point.is_look:
            axes.vlines(point.seeds, *point.interval, color=INK, linewidth=1.4)
            axes.plot(point.seeds, point.mean, "o", color=INK, markersize=6)
    axes.set_title("difference in accuracy, points")
    axes.set_xlabel("seeds")
    axes.set_xlim(x[0] - 0.5, max(x[-1], most_seeds) + 0.5)
    last = [end for point in points if point.is_look or point is points[-1] for end in point.interval]
    most = 1.2 * max(*map(abs, last), 1.3 * margin)
    axes.set_ylim(max(-most, min(*lows, -1.3 * margin)), min(most, max(*highs, 1.3 * margin)))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure
