"""Masks against independent formulas: exact counts, ties, nesting, ranking."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lthrun.errors import UserError
from lthrun.sparsity import masks
from lthrun.sparsity.granularities import GRANULARITIES

shapes = st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3))
CONV = sorted(set(GRANULARITIES) - {"layer"})  # a layer by itself is all or nothing
percents = st.one_of(st.floats(1, 95), st.sampled_from([50.0, 25.0, 100 / 6, 100 / 3]))


def scores_of(shape: tuple[int, ...], seed: int, levels: int = 10**6) -> torch.Tensor:
    """Random scores; few `levels` make many ties."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, levels, shape) / levels - 0.5).float()


def groups(mask: torch.Tensor, granularity: str) -> np.ndarray:
    """Per group whether it is kept, by visiting every weight."""
    group_dims = GRANULARITIES[granularity].conv
    members: dict[tuple[int, ...], set[bool]] = {}
    for place in np.ndindex(*mask.shape):
        key = tuple(0 if dim in group_dims else i for dim, i in enumerate(place))
        members.setdefault(key, set()).add(bool(mask[place]))
    assert all(len(values) == 1 for values in members.values()), "a group is kept in part"
    return np.array([values.pop() for values in members.values()])


@given(shapes, percents, st.sampled_from(CONV), st.integers(0, 99), st.sampled_from([3, 10**6]))
def test_local_count_is_the_rounded_share_of_the_groups(shape, sparsity, granularity, seed, levels):
    scores = {"a": scores_of(shape, seed, levels)}
    n = np.prod([side for dim, side in enumerate(shape) if dim not in GRANULARITIES[granularity].conv])
    removed = round(sparsity / 100 * n)
    if removed == n:
        with pytest.raises(UserError, match="layer collapse, a would lose all its"):
            masks.make_masks(scores, sparsity, granularity)
    else:
        keep = groups(masks.make_masks(scores, sparsity, granularity)["a"], granularity)
        assert (len(keep), int((~keep).sum())) == (n, removed)


@given(st.lists(shapes, min_size=1, max_size=4), percents, st.integers(0, 99), st.sampled_from([2, 7, 10**6]))
def test_global_weights_are_the_lowest_of_all_with_ties_by_index(all_shapes, sparsity, seed, levels):
    scores = {f"t{i}": scores_of(shape, seed + i, levels) for i, shape in enumerate(all_shapes)}
    ranked = sorted(
        (float(value), i, j) for i, name in enumerate(scores) for j, value in enumerate(scores[name].flatten())
    )
    pruned = {(i, j) for _, i, j in ranked[: round(sparsity / 100 * len(ranked))]}
    expected = {
        name: torch.tensor([(i, j) not in pruned for j in range(scores[name].numel())]).view(scores[name].shape)
        for i, name in enumerate(scores)
    }
    if all(mask.any() for mask in expected.values()):
        result = masks.make_masks(scores, sparsity, context="global")
        assert all(torch.equal(result[name], expected[name]) for name in scores)
    else:
        with pytest.raises(UserError):
            masks.make_masks(scores, sparsity, context="global")


def test_global_groups_are_weighted_by_size():
    # Kernels of 1 and of 9 weights, 22 in all: 50 % is 11, which the two smallest kernels of "a" and one of "b" make.
    scores = {
        "a": torch.tensor([1.0, 2.0, 9.0, 9.0]).view(4, 1, 1, 1),
        "b": torch.tensor([3.0, 8.0]).view(2, 1, 1, 1).expand(2, 1, 3, 3).contiguous(),
    }
    result = masks.make_masks(scores, 50, "kernel", "global")
    assert result["a"].flatten().tolist() == [False, False, True, True]
    assert result["b"].flatten(1).any(1).tolist() == [False, True]


def test_local_ranks_each_tensor_by_itself():
    scores = {"low": torch.arange(4.0).view(4, 1, 1, 1), "high": torch.arange(4.0).view(4, 1, 1, 1) + 100}
    assert [int(m.sum()) for m in masks.make_masks(scores, 50).values()] == [2, 2]
    with pytest.raises(UserError, match="layer collapse, low would lose all its 4 weights"):
        masks.make_masks(scores, 50, context="global")


def test_equal_scores_break_by_index():
    assert masks.make_masks({"a": torch.zeros(6, 1, 1, 1)}, 50)["a"].flatten().tolist() == [False] * 3 + [True] * 3


@given(shapes, st.integers(1, 9), st.floats(1, 90), st.integers(0, 99), st.sampled_from(CONV))
def test_masks_are_nested_from_level_to_level(shape, steps, sparsity, seed, granularity):
    previous = None
    for level, target in enumerate(sparsity * k / steps for k in range(steps + 1)):
        try:
            result = masks.make_masks({"a": scores_of(shape, seed + level)}, target, granularity, previous=previous)
        except UserError:
            return
        if previous is not None:
            assert not (result["a"] & ~previous["a"]).any(), "a pruned weight was restored"
        previous = result


def test_without_previous_masks_pruned_weights_would_be_restored():
    first = masks.make_masks({"a": torch.tensor([0.0, 1, 2, 3]).view(4, 1, 1, 1)}, 50)
    later = {"a": torch.tensor([9.0, 8, 1, 0]).view(4, 1, 1, 1)}
    assert masks.make_masks(later, 50)["a"].flatten().tolist() == [True, True, False, False]
    assert torch.equal(masks.make_masks(later, 50, previous=first)["a"], first["a"])


@given(st.lists(shapes, min_size=1, max_size=4), percents, st.integers(0, 99), st.sampled_from(CONV))
def test_global_groups_are_the_lowest_of_all_by_mean_score(all_shapes, sparsity, seed, granularity):
    """Every kept group scores at least as high as every pruned one; the weights pruned are nearest to the target."""
    scores = {f"t{i}": scores_of(shape, seed + i) for i, shape in enumerate(all_shapes)}
    try:
        result = masks.make_masks(scores, sparsity, granularity, "global")
    except UserError:
        return
    dims = GRANULARITIES[granularity].conv
    kept, pruned, sizes = [], [], []
    for name, mask in result.items():
        means = scores[name].double().mean(dims, keepdim=True) if dims else scores[name].double()
        alive = mask.double().mean(dims, keepdim=True) if dims else mask.double()
        assert set(alive.flatten().tolist()) <= {0.0, 1.0}
        kept += means[alive == 1].tolist()
        pruned += means[alive == 0].tolist()
        sizes.append(mask.numel() // means.numel())
    assert not pruned or not kept or max(pruned) <= min(kept)
    removed, total = (
        sum(f(mask) for mask in result.values()) for f in (lambda m: int((~m).sum()), lambda m: m.numel())
    )
    assert abs(removed - sparsity / 100 * total) <= max(sizes) / 2 + 1e-6


@given(shapes, percents, st.integers(1, 5), st.integers(0, 99))
def test_rounding_keeps_a_multiple_and_the_best(shape, sparsity, multiple, seed):
    scores = {"a": scores_of(shape, seed)}
    n, wanted = scores["a"].numel(), scores["a"].numel() - round(sparsity / 100 * scores["a"].numel())
    kept = int(masks.make_masks(scores, sparsity, round_to=multiple)["a"].sum()) if multiple > 1 else wanted
    if multiple == 1:
        return
    if n < multiple or wanted == n:
        assert kept == n
    else:
        allowed = range(multiple, n + 1, multiple)
        assert kept in allowed and abs(kept - wanted) == min(abs(k - wanted) for k in allowed)
        mask = masks.make_masks(scores, sparsity, round_to=multiple)["a"]
        assert kept == n or scores["a"][~mask].max() <= scores["a"][mask].min()


def test_rounding_never_leaks_between_layers():
    """The same global ranking, rounded in one layer more than in another: each is the nearest multiple of its own count."""
    scores = {"a": torch.arange(20.0).view(20, 1, 1, 1), "b": torch.arange(30.0).view(30, 1, 1, 1) + 0.5}
    plain = masks.make_masks(scores, 30, context="global")
    counts = {name: int(mask.sum()) for name, mask in plain.items()}
    assert counts == {"a": 12, "b": 23}  # by hand: the 15 lowest of 0, 0.5, 1, 1.5 … 7 are 8 of a and 7 of b
    result = masks.make_masks(scores, 30, context="global", round_to=8)
    assert {name: int(mask.sum()) for name, mask in result.items()} == {"a": 16, "b": 24}


@given(
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 2),
    st.sampled_from([(2, 4), (1, 4), (1, 2), (3, 8)]),
    st.integers(0, 99),
)
def test_n_of_m_keeps_the_n_best_of_every_m_input_channels(out, blocks, side, pattern, seed):
    n, m = pattern
    score = scores_of((out, blocks * m, side, side), seed)
    mask = masks.make_masks({"a": score}, 100 * (m - n) / m, f"{n}:{m}")["a"]
    for o, b, y, x in np.ndindex(out, blocks, side, side):
        block, keep = score[o, b * m : (b + 1) * m, y, x], mask[o, b * m : (b + 1) * m, y, x]
        assert int(keep.sum()) == n and block[keep].min() >= block[~keep].max()


def test_n_of_m_of_a_linear_layer_and_of_one_that_does_not_divide():
    mask = masks.make_masks({"fc": torch.tensor([[1.0, 4, 3, 2, 9, 8, 7, 6]])}, 50, "2:4")["fc"]
    assert mask.tolist() == [[False, True, True, False, True, True, False, False]]
    with pytest.raises(UserError, match=r"conv1.weight has 3 input channels, which is no multiple of 4"):
        masks.make_masks({"conv1.weight": torch.ones(2, 3, 1, 1)}, 50, "2:4")


@pytest.mark.parametrize(("granularity", "pruned"), [("row", [[0, 0], [1, 1]]), ("column", [[0, 1], [0, 1]])])
def test_rows_and_columns_of_a_linear_layer(granularity, pruned):
    """A row holds the weights of one output, a column those of one input."""
    score = torch.tensor([[0.0, 3.0], [2.0, 9.0]])  # means of rows 1.5 and 5.5, of columns 1 and 6
    assert masks.make_masks({"fc": score}, 50, granularity)["fc"].int().tolist() == pruned


def test_a_linear_layer_has_no_kernels():
    with pytest.raises(
        UserError, match=r"found kernel; fc.weight is of a linear layer, which supports weight, row, column"
    ):
        masks.make_masks({"fc.weight": torch.ones(4, 4)}, 50, "kernel")


def test_whole_layers_are_pruned_where_the_granularity_is_layer():
    scores = {name: torch.full((2, 2, 1, 1), value) for name, value in (("a", 3.0), ("b", 1.0), ("c", 2.0))}
    result = masks.make_masks(scores, 40, "layer", "global")
    assert {name: bool(mask.any()) for name, mask in result.items()} == {"a": True, "b": False, "c": True}
    with pytest.raises(UserError, match="all layers would be pruned"):
        masks.make_masks({"a": scores["a"]}, 90, "layer", "global")


def test_layers_can_have_their_own_targets():
    result = masks.make_masks(
        {"a": torch.arange(10.0).view(10, 1, 1, 1), "b": torch.arange(10.0).view(10, 1, 1, 1)}, {"a": 20, "b": 70}
    )
    assert [int((~mask).sum()) for mask in result.values()] == [2, 7]


@given(shapes, st.integers(0, 99), st.sampled_from(CONV), st.sampled_from(["local", "global"]))
def test_where_sparsity_falls_pruned_groups_are_restored_and_none_is_pruned(shape, seed, granularity, context):
    try:
        dense = masks.make_masks({"a": scores_of(shape, seed)}, 80, granularity, context)
        again = masks.make_masks({"a": scores_of(shape, seed + 1)}, 30, granularity, context, dense)
    except UserError:
        return
    assert not (dense["a"] & ~again["a"]).any(), "kept weights stay kept"
    assert len(groups(again["a"], granularity)) - groups(again["a"], granularity).sum() == round(
        0.3 * len(groups(again["a"], granularity))
    )


def test_pruned_groups_of_the_highest_scores_are_restored_first():
    scores = {"a": torch.tensor([1.0, 2, 3, 4, 5, 6, 7, 8]).view(8, 1, 1, 1)}
    sparse = {"a": torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]).bool().view(8, 1, 1, 1)}
    assert masks.make_masks(scores, 25, previous=sparse)["a"].flatten().int().tolist() == [0, 0, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("value", [0.0, -3.0, torch.inf, -torch.inf])
def test_constant_scores_break_by_index(value):
    mask = masks.make_masks({"a": torch.full((4, 2, 1, 1), value)}, 50)["a"]
    assert mask.flatten().int().tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


@given(shapes, st.integers(0, 99))
def test_a_random_mask_keeps_the_count_of_each_layer(shape, seed):
    mask = {"a": scores_of(shape, seed) > 0}
    drawn = masks.draw_random_masks(mask, torch.Generator().manual_seed(seed))
    assert drawn["a"].shape == mask["a"].shape and int(drawn["a"].sum()) == int(mask["a"].sum())


@given(st.sampled_from([*CONV, "2:4"]), st.integers(0, 99))
def test_a_random_mask_keeps_whole_groups(granularity, seed):
    result = masks.make_masks({"a": scores_of((6, 4, 3, 3), seed)}, 50, granularity)
    drawn = masks.draw_random_masks(result, torch.Generator().manual_seed(seed), granularity)["a"]
    assert int(drawn.sum()) == int(result["a"].sum())
    if granularity == "2:4":
        assert (drawn.sum(1) == 2).all()
    else:
        groups(drawn, granularity)  # fails where a group is kept in part


def test_a_random_mask_prunes_the_lowest_of_uniform_noise_layer_by_layer():
    shapes = {"a": (4, 3, 2, 2), "b": (5, 6)}
    mask = {name: scores_of(shape, 1) > 0.1 for name, shape in shapes.items()}
    drawn = masks.draw_random_masks(mask, torch.Generator().manual_seed(7))
    rng = torch.Generator().manual_seed(7)
    for name, shape in shapes.items():
        noise = torch.rand(shape, generator=rng).flatten().tolist()
        pruned = sorted(range(len(noise)), key=lambda i: (noise[i], i))[: int((~mask[name]).sum())]
        assert drawn[name].flatten().tolist() == [i not in pruned for i in range(len(noise))]


def test_random_masks_keep_every_group_equally_often():
    """Over 4,000 draws of 3 of 8 each group is kept 1,500 times, standard deviation 31."""
    mask = {"a": torch.tensor([True, True, True, False, False, False, False, False]).view(8, 1, 1, 1)}
    rng = torch.Generator().manual_seed(0)
    kept = sum(masks.draw_random_masks(mask, rng)["a"].flatten().int() for _ in range(4000))
    assert int(kept.sum()) == 12000 and int((kept - 1500).abs().max()) < 5 * 31


def test_nan_names_the_layer():
    with pytest.raises(UserError, match="layer3.weight: found NaN among its scores"):
        masks.make_masks({"layer3.weight": torch.tensor([0.0, torch.nan]).view(2, 1, 1, 1)}, 50)


@settings(deadline=None)
@given(st.floats(5, 90), st.sampled_from(["sgd", "adamw"]), st.integers(0, 20))
def test_masked_weights_stay_zero_under_momentum(sparsity, name, seed):
    torch.manual_seed(seed)
    model = torch.nn.Conv2d(3, 4, 3)
    optimizer = (
        torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9, nesterov=True, weight_decay=0.1)
        if name == "sgd"
        else torch.optim.AdamW(model.parameters(), lr=0.5)
    )
    for _ in range(2):  # momentum accumulates before the mask is applied
        optimizer.zero_grad()
        model(torch.randn(2, 3, 5, 5)).square().mean().backward()
        optimizer.step()
    result = masks.make_masks({"weight": model.weight.detach().abs()}, sparsity)
    hold = masks.MaskHook({"weight": model.weight}, result, optimizer)
    for _ in range(4):
        assert not model.weight[~result["weight"]].any()
        optimizer.zero_grad()
        model(torch.randn(2, 3, 5, 5)).square().mean().backward()
        optimizer.step()
    assert masks.count_pruned({"weight": model.weight}, result)["weight"] == (round(sparsity / 100 * 108), 108)
    hold.remove()
    optimizer.step()
    assert model.weight[~result["weight"]].any() or not (~result["weight"]).any(), "after remove() they train"


def test_sparsity_is_counted_on_the_weights_not_on_the_mask():
    mask = {"a": torch.tensor([True, False, False, False])}
    assert masks.count_pruned({"a": torch.tensor([0.0, 0.0, 5.0, 0.0])}, mask) == {"a": (2, 4)}
    assert masks.counted_sparsity({"a": (2, 4), "b": (0, 4)}) == 25.0


def test_frozen_weights_keep_their_value():
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(4, 3, 3, 3))
    initial, mask = weight.detach().clone(), {"weight": torch.rand(4, 3, 3, 3) > 0.5}
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9, weight_decay=0.1)
    masks.MaskHook({"weight": weight}, mask, optimizer, {"weight": initial})
    for _ in range(5):
        weight.grad = torch.randn_like(weight)
        optimizer.step()
    pruned = ~mask["weight"]
    assert torch.equal(weight[pruned], initial[pruned]) and not torch.equal(weight[~pruned], initial[~pruned])
    counted = masks.count_pruned({"weight": weight}, mask, {"weight": initial})
    assert counted == {"weight": (int(pruned.sum()), 108)}
