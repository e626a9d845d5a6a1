"""Lists of names and drawings of schedules, for the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence

from lthrun.report.tables import Table


def name_lines(title: str, key: str, names: Mapping[str, str], width: int) -> Iterable[str]:
    """Names with a line about each, in `width` columns. A name is never broken; where there is no room beside it, its
    explanation stands below."""
    yield ""
    yield f"{title} ({key})"
    beside = max(map(len, names), default=0) + 2
    if beside > width // 2:
        beside = 2
    for name, about in names.items():
        indent = " " * beside
        first = name.ljust(beside) if beside > 2 else f"{name}\n{indent}"
        yield first + textwrap.fill(about, width - beside, break_long_words=False).replace("\n", f"\n{indent}")


def schedule_chart(name: str, sparsities: Sequence[float], after: Sequence[float], width: int) -> Iterable[str]:
    """A schedule's sparsity over progress (`sparsities` at equal distances), `after` each pruning step on its scale."""
    height, columns = 10, min(51, width - 8)
    top = max(*sparsities, *after, 1.0)
    drawn = [sparsities[round(k * (len(sparsities) - 1) / (columns - 1))] for k in range(columns)]
    yield f"{name}: sparsity in % over the progress of pruning"
    for row in range(height, 0, -1):
        line = "".join("█" if value / top * height >= row - 0.5 else " " for value in drawn)
        yield f"{top * row / height:5.1f} │{line}"
    yield f"  0.0 └{'─' * columns}"
    yield "       0" + "progress".center(columns - 2) + "1"


def schedule_table(after: Sequence[float]) -> Table:
    """The sparsity after each pruning step, and the percent of the remaining weights that it prunes."""
    rows = []
    for k, (before, now) in enumerate(zip([0.0, *after[:-1]], after, strict=True), 1):
        share = f"{100 * (now - before) / (100 - before):.2f}" if now >= before else "regrows"
        rows.append([str(k), f"{now:.2f}", share])
    return Table("Pruning steps", ["pruning step", "sparsity %", "of the remaining weights %"], rows)
