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


def confidence(row: dict[str, Any]) -> str:
    return f"{100 * row['confidence']:.4g} %"


def p_value(p: float | None) -> str:
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def missing(row: dict[str, Any]) -> str:
    """A result that there is none of, and why."""
    where = "" if row["sparsity"] is None else f" at {percent(row['sparsity'])}"
    return f"{row['arm']}{where}, seed {row['seed']}: {row['why']}"


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
