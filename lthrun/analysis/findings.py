"""The part of a study's summary that answers its questions, from the results of its arms."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from lthrun.analysis.arm_results import ArmResult, Design, ResultTable
from lthrun.analysis.questions import list_questions
from lthrun.analysis.regime import check_regime
from lthrun.analysis.seed_means import average_seeds
from lthrun.analysis.sentences import write_question, write_verdict
from lthrun.analysis.study_records import Cell, SeedMean, StudyFindings
from lthrun.analysis.training_time import measure_reach
from lthrun.analysis.verdict import answer_questions


def analyze_study(results: Sequence[ArmResult], design: Design) -> StudyFindings:
    """Comparisons, training times, means per arm and sparsity, and the verdict in sentences."""
    table, look = ResultTable(results, design.seeds), design.look
    comparisons = answer_questions(list_questions(table, design), look)
    reach = measure_reach(table, design)
    return StudyFindings(
        seeds=list(design.seeds),
        arms=list(design.pairings),
        sparsities=list(design.sparsities),
        margin=design.margin,
        most_seeds=look.most_seeds,
        looks=sorted({*look.earlier, look.seeds}),
        question=write_question(design),
        verdict=write_verdict(comparisons, reach, check_regime(table, design), design),
        comparisons=comparisons,
        reach=reach,
        cells=average_arms(results, design),
    )


def average_arms(results: Sequence[ArmResult], design: Design) -> list[Cell]:
    """Means over the seeds, per arm and sparsity."""
    groups: dict[tuple[str, float | None], list[ArmResult]] = {}
    for result in results:
        groups.setdefault((result.arm, result.sparsity), []).append(result)
    return [average_arm(group, design) for group in groups.values()]


def average_arm(group: Sequence[ArmResult], design: Design) -> Cell:
    """Means over the seeds of one arm at one sparsity."""
    first, image = group[0], 1 / design.n_valid
    tests = [result.test.last for result in group if result.test]

    def average_test(values: Sequence[float]) -> SeedMean | None:
        return average_seeds(values, 1 / design.n_test) if values else None

    return Cell(
        arm=first.arm,
        sparsity=first.sparsity,
        n=len(group),
        seeds=[result.seed for result in group],
        accuracy=average_seeds([result.last.accuracy for result in group], image),
        balanced_accuracy=average_seeds([result.last.balanced_accuracy for result in group], image),
        test_accuracy=average_test([test.accuracy for test in tests]),
        test_balanced_accuracy=average_test([test.balanced_accuracy for test in tests]),
        early_stop_test_accuracy=average_test([a for r in group if (a := r.early_stop_accuracy) is not None]),
        epochs=first.steps / design.epoch_steps,
        search_epochs=first.search_steps / design.epoch_steps,
        measured_sparsity=statistics.fmean(result.measured_sparsity for result in group),
    )
