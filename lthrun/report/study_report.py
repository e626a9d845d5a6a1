"""The report of a study, and of any summary."""

from __future__ import annotations

from collections.abc import Iterable

from lthrun.experiments.summaries import StudySummary
from lthrun.report.records import AnySummary
from lthrun.report.run_report import run_report
from lthrun.report.study_tables import TONES, study_tables
from lthrun.report.tables import Answer, Fact, Report
from lthrun.report.wording import (
    MEASURES,
    at_sparsity,
    confidences,
    difference,
    image_counts,
    majority_rate,
    missing_result,
    plural,
    training_time,
)


def study_report(summary: StudySummary) -> Report:
    verdict = summary.verdict
    arms, seeds = plural(len(summary.arms), "arm"), plural(len(summary.seeds), "seed")
    return Report(
        title=summary.question,
        about=f"Comparison of {arms} over {seeds} ({', '.join(map(str, summary.seeds))})",
        answer=Answer(
            verdict.word or "no verdict",
            TONES.get(verdict.word, "open"),
            verdict.sentences or ["There is no verdict."],
        ),
        facts=list(study_facts(summary)),
        tables=list(study_tables(summary)),
        notes=summary.notes,
        missing=[missing_result(row) for row in summary.missing],
        differs=summary.differs,
    )


def study_facts(summary: StudySummary) -> Iterable[Fact]:
    for row in summary.comparisons:
        if row.is_primary:
            name = f"Primary: {MEASURES[row.measure]}, {row.arm} minus {row.against}{at_sparsity(row.sparsity)}"
            yield Fact(name, f"{difference(row)} {row.unit}, with {confidences([row])} interval, n = {row.n}")
            if row.more_seeds:
                yield Fact("To decide it", f"about {plural(row.more_seeds, 'more seed')}")
    yield Fact("Equivalence margin", f"±{summary.margin:g} points")
    yield Fact("Majority rate", majority_rate(summary))
    yield Fact("Images", image_counts(summary))
    counts = summary.levels
    failed = f", {counts.failed} failed" if counts.failed else ""
    levels = f"{plural(counts.trained, 'level')} trained, {counts.reused} reused{failed}"
    yield Fact("Training time", f"{training_time(summary)}: {levels}")


def build_report(summary: AnySummary) -> Report:
    """The report of a run or of a study."""
    return study_report(summary) if isinstance(summary, StudySummary) else run_report(summary)
