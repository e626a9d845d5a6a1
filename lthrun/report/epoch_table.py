"""The live tables of the screen: a row per epoch of a run, and a row per level of a study or a sweep.

A column is one entry: its heading, its width as a format specification, and its text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from lthrun.events import LevelFinished
from lthrun.records import EpochRecord


class LiveColumn(NamedTuple):
    heading: str
    width: str
    text: Callable[[Any], str]


class EpochRow(NamedTuple):
    """`epoch` counts over the whole run, from 0."""

    epoch: int
    level: int
    record: EpochRecord


class LevelRow(NamedTuple):
    done: int
    total: int
    level: LevelFinished


def loss(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


EPOCH_COLUMNS = (
    LiveColumn("epoch", ">5", lambda row: str(row.epoch)),
    LiveColumn("level", ">5", lambda row: str(row.level)),
    LiveColumn("in level", ">8", lambda row: str(row.record.level_epoch)),
    LiveColumn("sparsity %", ">10", lambda row: f"{row.record.sparsity:.2f}"),
    LiveColumn("train loss", ">10", lambda row: loss(row.record.train_loss)),
    LiveColumn("valid loss", ">10", lambda row: loss(row.record.valid_loss)),
    LiveColumn("accuracy %", ">10", lambda row: f"{100 * row.record.accuracy:.2f}"),
    LiveColumn("balanced %", ">10", lambda row: f"{100 * row.record.balanced_accuracy:.2f}"),
    LiveColumn("seconds", ">7", lambda row: f"{row.record.seconds:.1f}"),
)
LEVEL_COLUMNS = (
    LiveColumn("done", "<10", lambda row: f"{row.done} of {row.total}"),
    LiveColumn("result", "<28", lambda row: row.level.about),
    LiveColumn("level", ">5", lambda row: str(row.level.level)),
    LiveColumn("sparse %", ">8", lambda row: f"{row.level.sparsity:.2f}"),
    LiveColumn("accuracy %", ">10", lambda row: f"{100 * row.level.accuracy:.2f}"),
    LiveColumn("seconds", ">7", lambda row: "reused" if row.level.is_reused else f"{row.level.seconds:.1f}"),
)


def live_line(columns: Sequence[LiveColumn], row: EpochRow | LevelRow | None = None) -> str:
    """A row in columns, or their headings."""
    texts = (format(column.heading if row is None else column.text(row), column.width) for column in columns)
    return "  ".join(texts).rstrip()
