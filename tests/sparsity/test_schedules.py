"""Schedules against hand-worked values and independent formulas."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lthrun.config.pruning import ScheduleParams, count_pruning_steps, sparsity_targets
from lthrun.sparsity.schedules import SCHEDULES

schedule_params = st.builds(
    ScheduleParams,
    start=st.floats(0, 40),
    end=st.floats(40, 99),
    steps=st.integers(1, 40),
    sparsities=st.lists(st.floats(0, 99), min_size=1, max_size=6).map(tuple),
)


def test_default_targets_are_the_tutorials():
    assert sparsity_targets("iterative", ScheduleParams()) == pytest.approx([0, 16.6666667, 33.3333333, 50])


@given(st.floats(0, 99), st.integers(1, 1000))
def test_iterative_is_target_times_k_over_steps(sparsity, steps):
    """Also at 7 / 25, where ceil(7 / 25 * 25) is 8 in floating point."""
    assert sparsity_targets("iterative", ScheduleParams(0, sparsity, steps)) == pytest.approx(
        [sparsity * k / steps for k in range(steps + 1)]
    )


def test_geometric_removes_frankles_fifth_of_the_remaining_weights():
    assert sparsity_targets("geometric", ScheduleParams(0, 100 * (1 - 0.8**4), 4)) == pytest.approx(
        [0, 20, 36, 48.8, 59.04]
    )


def test_custom_is_the_list():
    assert sparsity_targets("custom", ScheduleParams(sparsities=(20, 36, 50))) == [0, 20, 36, 50]


@pytest.mark.parametrize(
    ("name", "progress", "expected"),
    [
        ("one_shot", 0.0, 0), ("one_shot", 0.01, 80),
        ("agp", 0.0, 0), ("agp", 0.5, 80 * 7 / 8), ("agp", 1.0, 80),
        ("cosine", 0.5, 40), ("cosine", 1.0, 80), ("linear", 0.25, 20),
        ("dsd", 0.25, 40), ("dsd", 0.5, 80), ("dsd", 1.0, 0),
        ("one_cycle", 1.0, 80), ("one_cycle", 6 / 14, 40 * (1 + math.exp(-8))),
    ],
)  # fmt: skip
def test_smooth_schedules_at_known_points(name, progress, expected):
    assert SCHEDULES[name](progress, ScheduleParams(0, 80, 3)) == pytest.approx(expected)


@given(st.sampled_from(sorted(SCHEDULES)), schedule_params, st.floats(0, 1))
def test_every_schedule_stays_between_its_ends(name, params, progress):
    values = params.sparsities if name == "custom" else (params.start, params.end)
    low, high = min(params.start, *values), max(params.start, *values)
    assert low - 1e-9 <= SCHEDULES[name](progress, params) <= high + 1e-9


@given(st.sampled_from(sorted(set(SCHEDULES) - {"dsd", "custom"})), schedule_params, st.floats(0, 1), st.floats(0, 1))
def test_all_but_dense_sparse_dense_never_fall_and_end_at_the_target(name, params, one, other):
    first, second = (SCHEDULES[name](progress, params) for progress in sorted((one, other)))
    assert first <= second + 1e-9
    assert SCHEDULES[name](1.0, params) == pytest.approx(params.end)


@given(schedule_params)
def test_dense_sparse_dense_returns_to_its_start(params):
    assert SCHEDULES["dsd"](1.0, params) == pytest.approx(params.start, abs=1e-9)


@given(st.sampled_from(sorted(SCHEDULES)), schedule_params)
def test_there_is_one_target_per_pruning_step(name, params):
    targets = sparsity_targets(name, params)
    assert targets[0] == 0 and len(targets) == 1 + count_pruning_steps(name, params)


@given(st.sampled_from([name for name, entry in SCHEDULES.items() if entry.stepped]), schedule_params)
def test_stepped_schedules_change_at_whole_steps_only(name, params):
    n = count_pruning_steps(name, params)
    for k in range(n):
        values = {round(SCHEDULES[name]((k + part) / n, params), 6) for part in (0.3, 0.7, 1.0)}
        assert len(values) == 1
