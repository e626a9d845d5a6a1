"""The estimate seed by seed: Student's interval of the seeds so far, at a look the planned one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lthrun.analysis.findings import analyze_study
from lthrun.analysis.seed_trace import trace_estimate
from lthrun.analysis.sequential import Look
from tests.analysis.studies import make_design, make_study

STEP = 0.1


def test_the_last_point_is_the_answer_and_the_others_are_of_the_seeds_so_far():
    study = analyze_study(make_study(0.72, 0.6, 8), make_design(8, most_seeds=12, earlier_looks=(4,)))
    assert study.primary
    points = trace_estimate(study.primary, study, STEP)
    assert [point.seeds for point in points] == [3, 4, 5, 6, 7, 8]
    assert [point.seeds for point in points if point.is_look] == [4, 8]
    last = points[-1]
    assert last.interval == pytest.approx(study.primary.interval) and last.mean == pytest.approx(study.primary.mean)
    assert last.confidence == pytest.approx(study.primary.confidence)
    assert points[1].confidence == pytest.approx(1 - Look(4, 12).level()) and points[1].confidence > 0.95
    for point in points:
        values = np.array(study.primary.differences[: point.seeds])
        half = stats.t.ppf((1 + point.confidence) / 2, point.seeds - 1) * values.std(ddof=1) / np.sqrt(point.seeds)
        assert point.interval == pytest.approx((values.mean() - half, values.mean() + half))
        assert point.is_look or point.confidence == pytest.approx(0.95)


def test_a_seed_without_results_is_left_out():
    results = [result for result in make_study(0.72, 0.6, 6) if (result.arm, result.seed) != ("ticket", 1)]
    study = analyze_study(results, make_design(6))
    assert study.primary
    points = trace_estimate(study.primary, study, STEP)
    assert [point.seeds for point in points] == [4, 5, 6], "the first three seeds have two results"
    assert points[0].mean == pytest.approx(np.mean(study.primary.differences[:3]))
