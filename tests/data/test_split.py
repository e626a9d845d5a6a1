"""The split is exact, keeps copies on one side, and depends on its seed alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from lthrun.config.sections import Data
from lthrun.data import pets
from lthrun.data.store import Store, open_store


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 40), min_size=20, max_size=60), st.floats(5, 60), st.integers(0, 50))
def test_split_counts_are_exact_and_copies_stay_together(contents, percent, seed):
    n = len(contents)
    store = Store(
        Path(), 16, 3, ("a", "b"), [f"n{i}" for i in range(n)], [0] * n, [str(c) for c in contents], [], [], {}
    )
    train, valid = store.split(percent, seed)
    assert sorted(train + valid) == list(range(n))
    assert not {contents[i] for i in train} & {contents[i] for i in valid}
    count, largest = round(percent / 100 * n), max(Counter(contents).values())
    assert count - largest < len(valid) <= count
    if largest == 1:
        assert len(valid) == count


def test_the_split_depends_on_its_seed_alone(images: Path):
    store = open_store(pets.list_pets(Data(dir=str(images))), 16)
    assert store.split(20, 42) == store.split(20, 42) != store.split(20, 43)
    assert [len(side) for side in store.split(20, 42)] == [48, 12]
