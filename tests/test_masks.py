"""Masks against independent formulas: exact counts, ties, nesting, ranking."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lthrun.errors import UserError
from lthrun.sparsity import masks, schedules
from lthrun.sparsity.criteria import CRITERIA
from lthrun.sparsity.granularity import GRANULARITIES

shapes = st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3))
percents = st.one_of(st.floats(1, 95), st.sampled_from([50.0, 25.0, 100 / 6, 100 / 3]))


def scores_of(shape: tuple[int, ...], seed: int, levels: int = 10**6) -> torch.Tensor:
    """Random scores; few `levels` make many ties."""
    draw = np.random.default_rng(seed)
    return torch.from_numpy(draw.integers(0, levels, shape) / levels - 0.5).float()


def groups(mask: torch.Tensor, granularity: str) -> np.ndarray:
    """Per group the set of values its members have, found by walking over all weights."""
    spanned = GRANULARITIES[granularity]
    found: dict[tuple[int, ...], set[bool]] = {}
    for place in np.ndindex(*mask.shape):
        key = tuple(0 if dim in spanned else i for dim, i in enumerate(place))
        found.setdefault(key, set()).add(bool(mask[place]))
    assert all(len(values) == 1 for values in found.values()), "a group was torn apart"
    return np.array([values.pop() for values in found.values()])


@given(shapes, percents, st.sampled_from(sorted(GRANULARITIES)), st.integers(0, 99), st.sampled_from([3, 10**6]))
def test_local_count_is_the_rounded_share_of_the_groups(shape, sparsity, granularity, seed, levels):
    scores = {"a": scores_of(shape, seed, levels)}
    n = np.prod([side for dim, side in enumerate(shape) if dim not in GRANULARITIES[granularity]])
    removed = round(sparsity / 100 * n)
    if removed == n:
        with pytest.raises(UserError, match="a: all its"):
            masks.make(scores, sparsity, granularity)
    else:
        keep = groups(masks.make(scores, sparsity, granularity)["a"], granularity)
        assert (len(keep), int((~keep).sum())) == (n, removed)


@given(st.lists(shapes, min_size=1, max_size=4), percents, st.integers(0, 99), st.sampled_from([2, 7, 10**6]))
def test_global_weights_are_the_lowest_of_all_with_ties_by_index(all_shapes, sparsity, seed, levels):
    scores = {f"t{i}": scores_of(shape, seed + i, levels) for i, shape in enumerate(all_shapes)}
    ranked = sorted(
        (float(value), i, j) for i, name in enumerate(scores) for j, value in enumerate(scores[name].flatten())
    )
    gone = {(i, j) for _, i, j in ranked[: round(sparsity / 100 * len(ranked))]}
    expected = {
        name: torch.tensor([(i, j) not in gone for j in range(scores[name].numel())]).view(scores[name].shape)
        for i, name in enumerate(scores)
    }
    if all(mask.any() for mask in expected.values()):
        made = masks.make(scores, sparsity, context="global")
        assert all(torch.equal(made[name], expected[name]) for name in scores)
    else:
        with pytest.raises(UserError):
            masks.make(scores, sparsity, context="global")


def test_global_groups_are_weighted_by_size():
    # Kernels of 1 and of 9 weights, 22 in all: 50 % is 11, which the two smallest kernels of "a" and one of "b" make.
    scores = {
        "a": torch.tensor([1.0, 2.0, 9.0, 9.0]).view(4, 1, 1, 1),
        "b": torch.tensor([3.0, 8.0]).view(2, 1, 1, 1).expand(2, 1, 3, 3).contiguous(),
    }
    made = masks.make(scores, 50, "kernel", "global")
    assert made["a"].flatten().tolist() == [False, False, True, True]
    assert made["b"].flatten(1).any(1).tolist() == [False, True]


def test_local_ranks_each_tensor_by_itself():
    scores = {"low": torch.arange(4.0).view(4, 1, 1, 1), "high": torch.arange(4.0).view(4, 1, 1, 1) + 100}
    assert [int(m.sum()) for m in masks.make(scores, 50).values()] == [2, 2]
    with pytest.raises(UserError, match="low: all its 4 weights"):
        masks.make(scores, 50, context="global")


def test_equal_scores_go_by_index():
    assert masks.make({"a": torch.zeros(6, 1, 1, 1)}, 50)["a"].flatten().tolist() == [False] * 3 + [True] * 3


@given(shapes, st.integers(1, 9), st.floats(1, 90), st.integers(0, 99), st.sampled_from(sorted(GRANULARITIES)))
def test_masks_are_nested_from_level_to_level(shape, steps, sparsity, seed, granularity):
    previous = None
    for level, target in enumerate(schedules.iterative(sparsity, steps)):
        try:
            made = masks.make({"a": scores_of(shape, seed + level)}, target, granularity, previous=previous)
        except UserError:
            return
        if previous is not None:
            assert not (made["a"] & ~previous["a"]).any(), "a pruned weight came back"
        previous = made


def test_an_unnested_mask_would_bring_weights_back():
    first = masks.make({"a": torch.tensor([0.0, 1, 2, 3]).view(4, 1, 1, 1)}, 50)
    later = {"a": torch.tensor([9.0, 8, 1, 0]).view(4, 1, 1, 1)}
    assert masks.make(later, 50)["a"].flatten().tolist() == [True, True, False, False]
    assert torch.equal(masks.make(later, 50, previous=first)["a"], first["a"])


def test_nan_names_the_layer():
    with pytest.raises(UserError, match="layer3.weight: its scores are not numbers"):
        masks.make({"layer3.weight": torch.tensor([0.0, torch.nan]).view(2, 1, 1, 1)}, 50)


@given(st.floats(0, 99), st.integers(1, 12))
def test_schedule_is_target_times_k_over_steps(sparsity, steps):
    levels = schedules.iterative(sparsity, steps)
    assert levels[0] == 0 and levels[-1] == pytest.approx(sparsity)
    assert np.allclose(np.diff(levels), sparsity / steps)


def test_the_tutorials_levels():
    assert schedules.iterative(50, 3) == pytest.approx([0, 16.6666667, 33.3333333, 50])


@pytest.mark.parametrize("name", sorted(CRITERIA))
def test_criteria_score_in_the_weights_shape_and_leave_them_alone(name):
    weights = scores_of((3, 2, 2, 2), 1)
    before = weights.clone()
    scores = CRITERIA[name](weights, torch.Generator().manual_seed(0))
    assert scores.shape == weights.shape and torch.equal(weights, before)


def test_large_final_is_the_magnitude():
    weights = torch.tensor([-3.0, 0.5, 2.0])
    assert CRITERIA["large_final"](weights, torch.Generator()).tolist() == [3.0, 0.5, 2.0]


def test_random_is_drawn_from_its_generator():
    first, again, other = (
        CRITERIA["random"](torch.ones(50), torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


@settings(deadline=None)
@given(st.floats(5, 90), st.sampled_from(["sgd", "adamw"]), st.integers(0, 20))
def test_held_weights_stay_zero_whatever_momentum_says(sparsity, name, seed):
    torch.manual_seed(seed)
    model = torch.nn.Conv2d(3, 4, 3)
    optimizer = (
        torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9, nesterov=True, weight_decay=0.1)
        if name == "sgd"
        else torch.optim.AdamW(model.parameters(), lr=0.5)
    )
    for _ in range(2):  # momentum gathers before the mask comes
        optimizer.zero_grad()
        model(torch.randn(2, 3, 5, 5)).square().mean().backward()
        optimizer.step()
    made = masks.make({"weight": model.weight.detach().abs()}, sparsity)
    hold = masks.Hold({"weight": model.weight}, made, optimizer)
    for _ in range(4):
        assert not model.weight[~made["weight"]].any()
        optimizer.zero_grad()
        model(torch.randn(2, 3, 5, 5)).square().mean().backward()
        optimizer.step()
    assert masks.zeros({"weight": model.weight}, made)["weight"] == [round(sparsity / 100 * 108), 108]
    hold.remove()
    optimizer.step()
    assert model.weight[~made["weight"]].any() or not (~made["weight"]).any(), "after remove() they are free"


def test_sparsity_is_counted_on_the_weights_not_on_the_mask():
    mask = {"a": torch.tensor([True, False, False, False])}
    assert masks.zeros({"a": torch.tensor([0.0, 0.0, 5.0, 0.0])}, mask) == {"a": [2, 4]}
    assert masks.sparsity({"a": [2, 4], "b": [0, 4]}) == 25.0
