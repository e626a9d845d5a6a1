"""The images that a study's accuracies are of: those of one split that all seeds share, or of a split per seed."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from lthrun.analysis.intervals import wilson_interval
from lthrun.levels.context import RunContext

Counts = Collection[list[int]]
"""Images of each class, for each of several splits."""


def count_final(context: RunContext) -> dict[int, list[int]]:
    """By split seed, the test images of each class; without test images the validation images."""
    return {seed: context.store.count_classes(split.test or split.valid) for seed, split in context.splits.items()}


def majority_rate(counts: Counts) -> float:
    """The mean over the splits of the accuracy of always answering the most common class, 0 to 1."""
    return sum(map(max, counts)) / sum(map(sum, counts))


def measure_majority(context: RunContext) -> dict[str, Any]:
    """The majority rates of a study's summary; the interval is that of the images of one split."""
    final = count_final(context).values()
    valid = [context.store.count_classes(split.valid) for split in context.splits.values()]
    rate, n = majority_rate(final), round(sum(map(sum, final)) / len(final))
    return {
        "majority_rate": rate,
        "majority_interval": wilson_interval(round(rate * n), n),
        "valid_majority_rate": majority_rate(valid),
    }


def describe_splits(context: RunContext) -> str:
    """What the intervals cover, and what they do not."""
    seeds, store = list(context.splits), context.store
    if len(seeds) == 1:
        covered = "initialization and data order, not other images"
        return f"All seeds share one split of the images: intervals cover {covered}."
    text = (
        f"Each seed has a split of its own (data.split_seed {seeds[0]} to {seeds[-1]}): intervals cover "
        "initialization, data order and the draw of the images."
    )
    own = [name for name, names in (("validation", store.valid), ("test", store.test)) if names is not None]
    return text + (f" The data set's own {own[0]} images are the same for all." if own else "")
