"""Charts drawn with characters, for columns of the terminal's tables."""

from __future__ import annotations

from collections.abc import Sequence

from lthrun.records import Interval

WIDTH = 13
BLOCKS = "▁▂▃▄▅▆▇█"


def interval_chart(
    mean: float | None, interval: Interval | None, low: float, high: float, mark: float, width: int = WIDTH
) -> str:
    """`├──●─┤  ┆`: a mean with its interval, and a mark for reference, on a line from `low` to `high`.

    A value beyond the line is an arrow at its end; a mark beyond it is left out.
    """

    def column(value: float) -> int:
        share = (value - low) / (high - low) if high > low else 0.5
        return round(min(max(share, 0.0), 1.0) * (width - 1))

    line = [" "] * width
    if low <= mark <= high:
        line[column(mark)] = "┆"
    if interval is not None:
        left, right = column(interval[0]), column(interval[1])
        line[left : right + 1] = "─" * (right + 1 - left)
        line[left] = "├" if interval[0] >= low else "─"
        line[right] = "┤" if interval[1] <= high else "─"
    if mean is not None:
        line[column(mean)] = "◂" if mean < low else "▸" if mean > high else "●"
    return "".join(line)


def scale(left: str, right: str, middle: str = "") -> str:
    """A heading that labels both ends of a chart, and its middle."""
    side = WIDTH // 2
    return left.ljust(side) + (middle or " ") + right.rjust(side)


def block_chart(values: Sequence[float], low: float, high: float) -> str:
    """Values as blocks from `low` to `high`; a column that stands for several shows the highest."""
    columns = min(len(values), WIDTH)
    heights = [low] * columns
    for k, value in enumerate(values):
        column = round(k * (columns - 1) / (len(values) - 1))
        heights[column] = max(heights[column], value)
    top = len(BLOCKS) - 1
    return "".join(BLOCKS[round(top * (height - low) / (high - low)) if high > low else 0] for height in heights)
