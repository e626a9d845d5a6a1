"""Every draw is a pure function of seed, stream and position."""

from __future__ import annotations

import hashlib

import torch
from hypothesis import given
from hypothesis import strategies as st

from lthrun.rng import derive_seed, make_generator

DRAWS = st.tuples(
    st.integers(0, 2**63 - 1), st.sampled_from(["init", "order", "mask"]), st.integers(0, 99), st.integers(0, 99)
)


@given(DRAWS, DRAWS)
def test_two_draws_have_two_seeds_of_63_bits(one: tuple, other: tuple):
    first, second = derive_seed(*one), derive_seed(*other)
    assert 0 <= first < 2**63 and (first == second) == (one == other)


def test_a_seed_is_the_hash_of_its_path_and_stays_so():
    """Cached levels and published numbers depend on it."""
    expected = int(hashlib.sha256(b"0/order/3/1").hexdigest()[:16], 16) // 2
    assert derive_seed(0, "order", 3, 1) == expected
    assert derive_seed(0, "init") == int(hashlib.sha256(b"0/init").hexdigest()[:16], 16) // 2


def test_a_draw_does_not_depend_on_those_before_it():
    first = torch.rand(3, generator=make_generator(5, "mask", 1))
    torch.rand(100, generator=make_generator(5, "mask", 0))
    assert torch.equal(first, torch.rand(3, generator=make_generator(5, "mask", 1)))
