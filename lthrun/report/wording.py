"""Numbers and records in words, the same in the terminal and on the page."""

from __future__ import annotations

from collections.abc import Sequence

from lthrun.analysis.sentences import format_signed
from lthrun.analysis.study_records import Comparison, Extremes, SeedMean
from lthrun.experiments.summaries import MissingResult, StudySummary, Summary
from lthrun.records import Interval

MEASURES = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "early_stopping": "early stopping"}
SEEDS_OVERLAP = "Tickets of two seeds share little more than chance gives, because the units of a layer have no order."


def percent(sparsity: float) -> str:
    return f"{sparsity:.4g} %"


def sparsity_label(sparsity: float | None) -> str:
    """A sparsity in a table; an arm without one is dense."""
    return "dense" if sparsity is None else percent(sparsity)


def at_sparsity(sparsity: float | None) -> str:
    return "" if sparsity is None else f" at {percent(sparsity)}"


def with_interval(value: float, interval: Interval | None) -> str:
    """A share (0 to 1) in percent with its interval: `75.0 (72.7 to 77.1)`."""
    if interval is None:
        return f"{100 * value:.1f} (no interval)"
    return f"{100 * value:.1f} ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})"


def seed_mean(mean: SeedMean) -> str:
    return with_interval(mean.mean, mean.interval)


def difference(row: Comparison) -> str:
    """A paired difference with its interval: `+0.42 (−0.30 to +1.10)`."""
    if row.mean is None:
        return "–"
    if row.interval is None:
        return f"{format_signed(row.mean)} (no interval)"
    return signed_interval(row.mean, row.interval)


def signed_interval(mean: float, interval: Interval) -> str:
    return f"{format_signed(mean)} ({format_signed(interval[0])} to {format_signed(interval[1])})"


def confidences(rows: Sequence[Comparison]) -> str:
    """The confidence of the intervals: `95 %`, or `95 to 99.5 %` where they differ."""
    values = sorted({100 * row.confidence for row in rows}) or [95.0]
    return percent(values[0]) if len(values) == 1 else f"{values[0]:.4g} to {percent(values[-1])}"


OVERLAPS = {
    "large-init": "ticket and largest initial weights",
    "orders": "one initialization, two orders of the images",
    "seeds": "tickets of two seeds",
}


def worst_seed(extremes: Extremes | None) -> str:
    """The difference of the worst seed, and which it is: `−1.4 (seed 3)`."""
    return f"{format_signed(extremes.worst)} (seed {extremes.worst_seed})" if extremes else "–"


def seed_counts(counts: Sequence[int]) -> str:
    """How many seeds the rows of a table have: `n = 5`, or `n = 3 to 5`."""
    low, high = min(counts, default=0), max(counts, default=0)
    return f"n = {low}" if low == high else f"n = {low} to {high}"


def p_value(p: float | None) -> str:
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def missing_result(row: MissingResult) -> str:
    return f"{row.arm}{at_sparsity(row.sparsity)}, seed {row.seed}: {row.reason}"


def is_far_below(rate: float, accuracies: Sequence[float]) -> bool:
    """Whether a majority rate, drawn beside these accuracies (all 0 to 1), would hide how they differ."""
    low, high = min(accuracies, default=rate), max(accuracies, default=rate)
    return low - rate > max(0.2, 2 * (high - low))


def majority_rate(summary: Summary) -> str:
    rate = with_interval(summary.majority_rate, summary.majority_interval)
    return f"{rate} %, the accuracy of always answering the most common class"


def image_counts(summary: Summary) -> str:
    """The images per side of the split, and their classes if there are few enough to name."""
    classes = summary.classes
    named = f"classes: {', '.join(classes)}" if len(classes) <= 10 else f"{len(classes)} classes"
    test = f", {summary.n_test:,} for the test" if summary.n_test else ""
    return f"{summary.n_train:,} for training, {summary.n_valid:,} for validation{test}; {named}"


def final_images(summary: StudySummary) -> str:
    """The images that a study's accuracies are of: `1,478 test images`."""
    return f"{summary.n_final:,} {'test' if summary.n_test else 'validation'} images"


def training_time(summary: Summary) -> str:
    return f"{clock(summary.seconds)} on {summary.device} in {summary.precision}"


def megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"


def clock(seconds: float) -> str:
    """`0:07`, `12:30`, `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def plural(count: int, thing: str) -> str:
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"
