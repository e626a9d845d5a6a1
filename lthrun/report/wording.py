"""Numbers in words, the same in the terminal and on the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

MEASURES = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "early_stopping": "early stopping"}


def percent(sparsity: float) -> str:
    return f"{sparsity:.4g} %"


def at(sparsity: float | None) -> str:
    """A sparsity in a table; an arm without one is dense."""
    return "dense" if sparsity is None else percent(sparsity)


def signed(value: float, digits: int = 2) -> str:
    """`+0.42`, `−0.30`: with a true minus."""
    return f"{value:+.{digits}f}".replace("-", "−")


def share(found: dict[str, Any]) -> str:
    """The mean of a share over seeds in percent, with its interval: `75.0 (73.0 to 77.0)`."""
    if found["interval"] is None:
        return f"{100 * found['mean']:.1f} (no interval)"
    low, high = found["interval"]
    return f"{100 * found['mean']:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def difference(row: dict[str, Any]) -> str:
    """A paired difference with its interval: `+0.42 (−0.30 to +1.10)`."""
    if row["interval"] is None:
        return f"{signed(row['mean'])} (no interval)"
    return f"{signed(row['mean'])} ({signed(row['interval'][0])} to {signed(row['interval'][1])})"


def confidences(rows: Sequence[dict[str, Any]]) -> str:
    """The confidence of the intervals: `95 %`, or `95 to 99.5 %` where they differ."""
    found = sorted({100 * row["confidence"] for row in rows}) or [95.0]
    return percent(found[0]) if len(found) == 1 else f"{found[0]:.4g} to {percent(found[-1])}"


def p_value(p: float | None) -> str:
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def epochs(row: dict[str, Any]) -> str:
    """The median moment at which something was reached, if it was."""
    return "–" if row["median_epochs"] is None else f"{row['median_epochs']:.2f}"


def missing(row: dict[str, Any]) -> str:
    """A result that there is none of, and why."""
    where = "" if row["sparsity"] is None else f" at {percent(row['sparsity'])}"
    return f"{row['arm']}{where}, seed {row['seed']}: {row['why']}"


def majority(summary: dict[str, Any]) -> str:
    low, high = (100 * end for end in summary["majority_interval"])
    rate, n = 100 * summary["majority_rate"], summary["n_valid"]
    return f"{rate:.1f} ({low:.1f} to {high:.1f}) %, with 95 % interval, n = {n:,}"


def images(summary: dict[str, Any]) -> str:
    """How many images there were, and of what classes, if they are not too many to be named."""
    classes = summary["classes"]
    named = f"classes: {', '.join(classes)}" if len(classes) <= 10 else f"{len(classes)} classes"
    return f"{summary['n_train']:,} to train on, {summary['n_valid']:,} to validate; {named}"


def seeds(rows: Sequence[dict[str, Any]]) -> str:
    """How many seeds the rows speak of: `n = 5`, or `n = 3 to 5`."""
    found = [row["n"] for row in rows] or [0]
    return f"n = {found[0]}" if min(found) == max(found) else f"n = {min(found)} to {max(found)}"


def beside_majority(interval: Sequence[float], rate: float) -> str:
    """How an accuracy with its interval stands to the majority rate."""
    low, high = interval
    return "above" if low > rate else "below" if high < rate else "not distinguishable from"


def beside_chance(summary: dict[str, Any], mask: dict[str, Any]) -> str:
    """Whether a supermask beats chance, and what it misses where it does not."""
    chance = 100 / len(summary["classes"])
    if mask["better_than_chance"]:
        return f"better than chance: balanced accuracy above {chance:.0f} % and above all random masks"
    above = mask["balanced_accuracy_interval"][0] > chance / 100
    missed = "is not above all random masks" if above else f"is not above {chance:.0f} % with its whole interval"
    return f"not shown to be better than chance: balanced accuracy {missed}"
