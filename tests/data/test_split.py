"""The split: exact, by class where a class has few images, with copies on one side, and a function of its seed."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lthrun.config.sections import Data
from lthrun.data import pets
from lthrun.data.store import Store, open_store
from lthrun.errors import UserError
from lthrun.experiments import load_config


def make_store(labels: list[int], contents: list[object] | None = None, **own: frozenset[str]) -> Store:
    """A store of images n0, n1, … that are byte-identical where their contents are."""
    names = [f"n{i}" for i in range(len(labels))]
    digests = [str(content) for content in contents or names]
    classes = tuple(map(str, sorted(set(labels))))
    return Store(Path(), 16, 3, classes, names, labels, digests, [], [], {}, **own)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 40), min_size=20, max_size=60), st.floats(5, 60), st.integers(0, 50))
def test_split_counts_are_exact_and_copies_stay_together(contents, percent, seed):
    n = len(contents)
    store = make_store([0] * n, contents)
    train, valid, test = store.split(Data(validation=percent, split_seed=seed))
    assert sorted(train + valid) == list(range(n)) and test == []
    assert not {contents[i] for i in train} & {contents[i] for i in valid}
    count, largest = round(percent / 100 * n), max(Counter(contents).values())
    assert count - largest < len(valid) <= count
    if largest == 1:
        assert len(valid) == count


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 60)), min_size=30, max_size=80),
    st.floats(5, 45), st.sampled_from([0.0, 5.0, 20.0, 45.0]), st.integers(0, 50),
)  # fmt: skip
def test_every_image_is_on_one_side_and_copies_on_the_same(images, validation, test, seed):
    labels, contents = [label for label, _ in images], [content for _, content in images]
    split = make_store(labels, contents).split(Data(validation=validation, test=test, split_seed=seed))
    assert sorted(i for side in split for i in side) == list(range(len(images)))
    assert all(side == sorted(side) for side in split) and bool(split.test) <= bool(test)
    of = [{contents[i] for i in side} for side in split]
    assert not (of[0] & of[1] or of[0] & of[2] or of[1] & of[2])


def test_large_classes_are_drawn_together_as_a_hash_of_seed_and_name_orders_them():
    labels = [i % 3 for i in range(600)]
    store = make_store(labels)
    order = sorted(range(600), key=lambda i: hashlib.sha256(f"42/split/n{i}".encode()).digest())
    assert store.split(Data()).valid == sorted(order[:120])
    assert store.split(Data()) == make_store([0] * 600).split(Data()), "labels play no part"


@pytest.mark.parametrize(
    "classes, each, percent", [(100, 10, 20.0), (37, 5, 20.0), (10, 3, 20.0), (50, 2, 40.0), (5, 30, 3.0)]
)
def test_classes_of_few_images_are_on_every_side(classes: int, each: int, percent: float):
    labels = [c for c in range(classes) for _ in range(each)]
    for seed in range(5):
        split = make_store(labels).split(Data(validation=percent, split_seed=seed))
        held_out = Counter(labels[i] for i in split.valid)
        assert set(held_out.values()) == {round(percent / 100 * each)} and len(held_out) == classes
        assert {labels[i] for i in split.train} == set(range(classes))


def test_a_few_images_of_one_class_do_not_move_those_of_large_ones():
    large = make_store([0] * 300).split(Data())
    both = make_store([0] * 300 + [1] * 10).split(Data())
    assert [i for i in both.valid if i < 300] == large.valid and sum(i >= 300 for i in both.valid) == 2


def test_a_test_split_leaves_the_validation_images_as_they_are():
    store = make_store([i % 2 for i in range(500)])
    without, with_test = store.split(Data()), store.split(Data(test=20.0))
    assert with_test.valid == without.valid and len(with_test.test) == 100
    assert set(with_test.test) < set(without.train)
    assert store.key_facts(without, Data()) != store.key_facts(with_test, Data()), "fewer images are trained on"


def test_the_sides_of_a_data_set_are_kept_and_what_it_lacks_is_drawn_from_the_others():
    labels = [i % 2 for i in range(300)]
    valid, test = (frozenset(f"n{i}" for i in ids) for ids in (range(40), range(250, 300)))
    split = make_store(labels, test=test).split(Data(test=50.0))
    assert split.test == list(range(250, 300)) and len(split.valid) == 50 and max(split.valid) < 250
    split = make_store(labels, valid=valid).split(Data(validation=90.0, test=9.0))
    assert split.valid == list(range(40)) and len(split.test) == round(0.09 * 260)
    split = make_store(labels, valid=valid, test=test).split(Data())
    assert split == (list(range(40, 250)), list(range(40)), list(range(250, 300)))


def test_no_training_images_are_refused():
    with pytest.raises(UserError, match="data.test: found 60; with validation: 40 no training images are left"):
        load_config(None, "ticket", options={"data.validation": 40.0, "data.test": 60.0})


def test_the_split_depends_on_its_seed_alone(images: Path):
    store = open_store(pets.list_pets(Data(dir=str(images))), 16)
    assert store.split(Data()) == store.split(Data()) != store.split(Data(split_seed=43))
    assert [len(side) for side in store.split(Data())] == [48, 12, 0]
