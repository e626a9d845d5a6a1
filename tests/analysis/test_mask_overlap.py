"""Mask overlap and sparsity per layer, by hand."""

from __future__ import annotations

import pytest
import torch

from lthrun.analysis.mask_overlap import measure_overlap, summarize_layers
from lthrun.analysis.study_records import LayerSparsity


def test_overlap_is_intersection_over_union():
    """Of 8 weights each mask keeps 4, two of them in common: 2 / 6. By chance 4·4/8 = 2 in common, of 6."""
    one = {"a": torch.tensor([1, 1, 1, 1, 0, 0, 0, 0]).bool()}
    other = {"a": torch.tensor([1, 1, 0, 0, 1, 1, 0, 0]).bool()}
    row = measure_overlap(50.0, "orders", [(one, other)])
    assert (row.sparsity, row.kind, row.pairs, row.overlap, row.chance) == (50.0, "orders", 1, 2 / 6, 2 / 6)
    assert row.lowest == row.highest == 2 / 6
    two = measure_overlap(50.0, "large-init", [(one, one), (one, other)])
    assert two.pairs == 2 and two.highest == 1.0 and two.overlap == pytest.approx((1 + 2 / 6) / 2)


def test_chance_is_what_random_masks_share():
    """Two layers of unequal density, each of 4,000 weights: expected 0.25·0.5 and 0.1·0.2 of them in common."""
    generator = torch.Generator().manual_seed(0)
    shares = {"a": (0.25, 0.5), "b": (0.1, 0.2)}
    one, other = (
        {name: torch.randperm(4000, generator=generator) < 4000 * share[k] for name, share in shares.items()}
        for k in (0, 1)
    )
    row = measure_overlap(70.0, "seeds", [(one, other)])
    assert row.chance == pytest.approx((0.125 + 0.02) / (0.625 + 0.28))
    assert row.overlap == pytest.approx(row.chance, abs=0.02)


def test_layers_have_their_range_over_the_seeds():
    assert summarize_layers(50.0, [{"a.weight": (1, 4)}, {"a.weight": (3, 4)}]) == [
        LayerSparsity(sparsity=50.0, layer="a", pruned=50.0, lowest=25.0, highest=75.0, total=4)
    ]
