"""pruning.rates: what a layer of its own rate keeps, against exact fractions and worked cases."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lthrun.config.pruning import GradualPruning, Pruning
from lthrun.experiments import load_config
from lthrun.levels.keys import Conditions
from lthrun.levels.plan import plan_gradual
from tests.levels.test_keys import keys

RISING = st.lists(st.floats(1, 99), min_size=1, max_size=8, unique=True).map(sorted).map(tuple)


def fraction_kept(sparsities: list[float], rate: float) -> Fraction:
    """Level by level: of what a layer keeps, `rate` times the share goes that goes of what the others keep."""
    kept = Fraction(1)
    for before, after in pairwise(100 - Fraction(s) for s in [0.0, *sparsities]):
        kept -= Fraction(rate) * (1 - after / before) * kept
    return kept


@given(RISING, st.floats(0, 1))
def test_a_layer_loses_its_share_of_the_rate_at_each_level(sparsities: tuple[float, ...], rate: float):
    pruning = Pruning(schedule="custom", sparsities=sparsities, rates={"fc*": rate})
    for level, sparsity in enumerate(sparsities, 1):
        expected = 100 * (1 - float(fraction_kept(list(sparsities[:level]), rate)))
        assert pruning.layer_target("fc3", sparsity) == pytest.approx(expected, abs=1e-9)
        assert pruning.layer_target("conv1", sparsity) == sparsity


@given(RISING, st.floats(0, 1), st.floats(1, 99))
def test_between_two_levels_a_layer_is_between_its_sparsities(sparsities: Any, rate: float, between: float):
    """SynFlow prunes in many passes."""
    pruning = Pruning(schedule="custom", sparsities=sparsities, rates={"fc": rate})
    targets = [pruning.layer_target("fc", s) for s in sorted({*sparsities, min(between, sparsities[-1])})]
    assert targets == sorted(targets) and all(0 <= target <= 99 for target in targets)


def test_frankle_and_carbin_prune_the_output_layer_at_half_the_rate():
    pruning = Pruning(schedule="custom", sparsities=(20, 36, 48.8), rates={"fc3": 0.5})
    assert [pruning.layer_target("fc3", s) for s in (20, 36, 48.8)] == pytest.approx([10, 19, 27.1])
    assert Pruning(schedule="one_shot", sparsity=80, rates={"fc3": 0.5}).layer_target("fc3", 80) == pytest.approx(40)


def test_the_first_pattern_that_matches_counts():
    pruning = Pruning(schedule="one_shot", sparsity=80, rates={"fc3": 0.5, "fc*": 0})
    assert [pruning.layer_target(name, 80) for name in ("fc3", "fc1", "conv")] == pytest.approx([40, 0, 80])


def test_rates_are_in_the_key_in_order_and_no_rates_are_not():
    assert keys() == keys(**{"pruning.rates": {}})
    others = [{"fc": 0.5}, {"fc": 0.25}, {"fc": 0.5, "*": 0.25}, {"*": 0.25, "fc": 0.5}]
    made = [keys(**{"pruning.rates": rates}) for rates in [{}, *others]]
    assert len({chain[0] for chain in made}) == 1 and len({chain[-1] for chain in made}) == len(made)


def test_targets_that_share_a_step_are_in_the_key_of_gradual_pruning():
    """The layer's sparsity at the end depends on them."""
    config = load_config(None, "prune", options={"training.epochs": 2})
    made = {
        plan_gradual(config, pruning, Conditions({}, 1, "cpu", "float32")).key
        for steps in (3, 4)
        for pruning in [GradualPruning(steps=steps, begin=50, end=50, rates={"fc": 0.5})]
    }
    assert len(made) == 2


def test_a_study_without_rates_keeps_its_name_and_one_with_rates_has_its_own():
    plain, half = (load_config(None, "compare", options={"pruning.rates": r}) for r in ({}, {"fc": 0.5}))
    assert "rates" not in plain.identity_extras["pruning"]
    assert half.identity_extras["pruning"]["rates"] == {"fc": 0.5}
