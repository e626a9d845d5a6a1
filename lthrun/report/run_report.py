"""The report of one run: what every run has, and what its type of summary adds.

An experiment with a summary of its own adds one file like lthrun.report.supermask_part and one entry in `PARTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from lthrun.experiments.reading import AnySummary
from lthrun.experiments.summaries import RunSummary, Summary
from lthrun.records import Measured
from lthrun.report import connectivity_part, supermask_part
from lthrun.report.run_tables import accuracy_facts, accuracy_in_words, against_majority, both_accuracies, run_tables
from lthrun.report.tables import Answer, Fact, Report, Table
from lthrun.report.wording import image_counts, majority_rate, percent, plural, training_time

NAMED_ALONE = {"rewind.to", "pruning.protocol", "supermask.method", "model.name", "data.dataset"}


@dataclass(frozen=True)
class Part:
    """What a type of summary has in its report.

    Attributes:
        answer: the result in a word and in sentences.
        facts: lines beside the answer.
        tables: before those of every run.
        measured: the accuracies by which the run is listed among others.
        arm: the arm of a study whose style its figures have.
    """

    answer: Callable[[Any], Answer]
    facts: Callable[[Any], Iterable[Fact]] = lambda summary: accuracy_facts("", summary, summary)
    tables: Callable[[Any], list[Table]] = lambda summary: []
    measured: Callable[[Any], Measured] = lambda summary: summary
    arm: Callable[[Any], str] = lambda summary: "ticket"


def plain_answer(summary: RunSummary) -> Answer:
    """Whether the network is any better than always giving the same answer."""
    word, tone = against_majority(summary, summary)
    pruned = f"With {percent(summary.sparsity)} of its weights pruned, the" if summary.sparsity else "The dense"
    rate = f"{100 * summary.majority_rate:.1f} %"
    return Answer(word, tone, [f"{pruned} network has {accuracy_in_words(summary, summary)}: {word} of {rate}."])


PARTS = {  # by the name of a summary's class or of one of its bases, so that no experiment is imported here
    "SupermaskSummary": Part(
        supermask_part.answer, supermask_part.facts, supermask_part.tables, supermask_part.measured, supermask_part.arm
    ),
    "ConnectivitySummary": Part(connectivity_part.answer, tables=connectivity_part.tables),
    "RunSummary": Part(plain_answer, arm=lambda summary: summary.experiment if summary.sparsity else "dense"),
}


def class_names(summary: Summary) -> list[str]:
    """The names of a summary's class and of its bases, nearest first."""
    return [cls.__name__ for cls in type(summary).__mro__]


def part_of(summary: RunSummary) -> Part:
    return next(PARTS[name] for name in class_names(summary) if name in PARTS)


def run_report(summary: RunSummary) -> Report:
    part = part_of(summary)
    return Report(
        title=run_title(summary),
        about=f"One run, seed {summary.seed}",
        answer=part.answer(summary),
        facts=[*part.facts(summary), *run_facts(summary)],
        tables=[*part.tables(summary), *run_tables(summary)],
        notes=["One seed: intervals cover validation-set sampling, not seed-to-seed variation."],
        differs=summary.differs,
    )


def run_facts(summary: RunSummary) -> Iterable[Fact]:
    yield Fact("Majority rate", majority_rate(summary))
    for name, test in (("", summary.test), (", at the lowest validation loss", summary.early_stop_test)):
        if test:
            accuracy, balanced = both_accuracies(test)
            yield Fact(f"Test accuracy{name}", f"{accuracy} %, balanced {balanced} %, n = {summary.n_test:,}")
    total = sum(counts[1] for counts in summary.levels[-1].layers.values())
    frozen = ", held at their initial values" if summary.differs.get("rewind.pruned") == "frozen" else ""
    yield Fact("Sparsity", f"{summary.sparsity:.2f} % of {total:,} prunable weights{frozen}")
    yield Fact("Images", image_counts(summary))
    yield Fact("Training time", training_time(summary))
    reused = sum(level.reused for level in summary.levels)
    if reused:
        yield Fact("Reused", f"{reused} of {plural(len(summary.levels), 'level')}")


def run_title(summary: AnySummary) -> str:
    """The experiment, with what sets it apart from its defaults: `ticket 1ep fasterai steps=5`."""
    differs = {key: value for key, value in summary.differs.items() if key != "training.epochs"}
    words = [str(v) if key in NAMED_ALONE else f"{key.rpartition('.')[2]}={v}" for key, v in differs.items()]
    return " ".join([summary.experiment, *words[:4], *(["…"] if words[4:] else [])])
