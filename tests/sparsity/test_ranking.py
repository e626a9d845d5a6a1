"""Masks by selection equal masks by sorting, to the bit."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lthrun.errors import UserError
from lthrun.sparsity import masks
from lthrun.sparsity.granularities import GRANULARITIES
from lthrun.sparsity.ranking import keep_highest, kth_smallest, select_lowest
from tests.sparsity.reference import sorted_masks

CONV = st.tuples(st.integers(1, 5), st.sampled_from([4, 8]), st.integers(1, 3), st.integers(1, 3))
LINEAR = st.tuples(st.integers(1, 6), st.sampled_from([4, 8, 12]))
TARGETS = st.one_of(st.floats(0, 95), st.sampled_from([0.0, 25.0, 100 / 3, 50.0, 75.0]))
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
# Few levels make ties; a level may be infinite or a negative zero.
LEVELS = st.sampled_from([2, 5, 1000])


@st.composite
def rankings(draw: st.DrawFn) -> tuple[list[dict[str, Tensor]], list[float], dict[str, Any]]:
    """Scores and targets of consecutive pruning steps, and the other settings of `make_masks`."""
    granularity = draw(st.sampled_from([*GRANULARITIES, *["weight"] * 5, "2:4", "1:4"]))
    entry = GRANULARITIES.get(granularity)
    shape = CONV if entry is not None and entry.linear is None else st.one_of(CONV, LINEAR)
    shapes = draw(st.lists(shape, min_size=1, max_size=4))
    levels, dtype = draw(LEVELS), draw(st.sampled_from(DTYPES))
    seeds = draw(st.lists(st.integers(0, 10**6), min_size=1, max_size=3))
    infinite = granularity == "weight" and draw(st.booleans())

    def scores(seed: int) -> dict[str, Tensor]:
        rng = torch.Generator().manual_seed(seed)
        drawn = {
            f"t{i}": torch.randint(0, levels, shape, generator=rng) / levels - 0.5 for i, shape in enumerate(shapes)
        }
        if infinite:
            for tensor in drawn.values():
                tensor[torch.rand(tensor.shape, generator=rng) < 0.1] = torch.inf
                tensor[torch.rand(tensor.shape, generator=rng) < 0.1] = -torch.inf
                tensor[torch.rand(tensor.shape, generator=rng) < 0.1] = -0.0
        return {name: tensor.to(dtype) for name, tensor in drawn.items()}

    is_block = ":" in granularity
    rules = {
        "granularity": granularity,
        "context": "local" if is_block else draw(st.sampled_from(["local", "global"])),
        "round_to": 1 if is_block else draw(st.sampled_from([1, 1, 2, 3, 8])),
    }
    return [scores(seed) for seed in seeds], [draw(TARGETS) for _ in seeds], rules


@settings(max_examples=400)
@given(rankings())
def test_masks_equal_those_of_a_stable_sort(ranking: tuple[list[dict[str, Tensor]], list[float], dict[str, Any]]):
    """With ties, under earlier masks, where sparsity rises and falls, in every granularity and context."""
    previous = None
    for scores, sparsity in zip(*ranking[:2], strict=True):
        expected = sorted_masks(scores, sparsity, previous=previous, **ranking[2])
        kept = [bool(mask.any()) for mask in expected.values()]
        if ":" not in ranking[2]["granularity"] and not (any if ranking[2]["granularity"] == "layer" else all)(kept):
            with pytest.raises(UserError, match=r"layer collapse|all layers would be pruned"):
                masks.make_masks(scores, sparsity, previous=previous, **ranking[2])
            return
        result = masks.make_masks(scores, sparsity, previous=previous, **ranking[2])
        assert result.keys() == expected.keys()
        assert all(torch.equal(result[name], mask) and result[name].is_contiguous() for name, mask in expected.items())
        previous = expected


@given(st.lists(st.tuples(st.sampled_from([0.0, -0.0, 1.0, 2.5, torch.inf, -torch.inf]), st.booleans())), st.data())
def test_selection_takes_the_lowest_candidates_and_breaks_ties_by_index(pairs: list[tuple[float, bool]], data: Any):
    scores = torch.tensor([score for score, _ in pairs])
    candidates = torch.tensor([candidate for _, candidate in pairs], dtype=torch.bool)
    count = data.draw(st.integers(0, int(candidates.sum())))
    ranked = sorted((score, i) for i, (score, candidate) in enumerate(pairs) if candidate)
    expected = {i for _, i in ranked[:count]}
    assert set(select_lowest(scores, count, candidates).nonzero().flatten().tolist()) == expected


def test_ties_break_by_index_and_the_layout_is_kept_where_memory_is_channels_last():
    scores = (torch.arange(2 * 3 * 2 * 2) % 3).float().view(2, 3, 2, 2)
    keep = keep_highest(scores.to(memory_format=torch.channels_last), 12)
    assert keep.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(keep, sorted_masks({"a": scores}, 50)["a"])


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_kth_smallest(dtype: torch.dtype):
    values = torch.tensor([3.0, -1.0, 2.0, 2.0]).to(dtype)
    assert [float(kth_smallest(values, k)) for k in (1, 2, 3, 4)] == [-1, 2, 2, 3]


def test_a_group_whose_mean_is_nan_is_refused():
    with pytest.raises(UserError, match="a: found NaN among its scores"):
        masks.make_masks({"a": torch.tensor([[torch.inf, -torch.inf], [1.0, 2.0]])}, 50, "row")


def test_selection_is_much_faster_than_sorting():
    """Over fifty times on two cores; five are asserted, since machines are shared."""
    scores = {"a": torch.rand(1000, 1000, generator=torch.Generator().manual_seed(0))}

    def seconds(make: Callable[..., Any]) -> float:
        start = time.perf_counter()
        make(scores, 50)
        return time.perf_counter() - start

    assert min(seconds(masks.make_masks) for _ in range(3)) < min(seconds(sorted_masks) for _ in range(2)) / 5
