"""Folders that come with their split: DIR/train/<class> beside DIR/val/<class> and DIR/test/<class>."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lthrun.config.sections import Data
from lthrun.data import Images, folder
from lthrun.errors import UserError
from tests.data.samples import CLASSES, open_folder, save_noise, write_sides


def listed(root: Path) -> Images:
    return folder.list_folder(Data(dataset="folder", dir=str(root)))


@pytest.mark.parametrize("train", ["train", "Train", "training"])
@pytest.mark.parametrize("valid", ["val", "valid", "validation", "Val"])
@pytest.mark.parametrize("test", ["test", "testing", None])
def test_every_spelling_is_recognized_and_the_split_kept(tmp_path: Path, train: str, valid: str, test: str | None):
    write_sides(tmp_path, **{train: 20, valid: 4}, **({test: 5} if test else {}))
    store = open_folder(tmp_path)
    split = store.split(Data(validation=40.0, split_seed=3))
    assert store.classes == CLASSES
    assert [{store.names[i].split("/")[0] for i in side} for side in split] == [
        {train},
        {valid},
        {test} if test else set(),
    ]
    assert [len(side) for side in split] == [60, 12, 15 if test else 0]
    assert all(store.classes[store.labels[i]] == name.split("/")[1] for i, name in enumerate(store.names))


def test_where_only_test_images_are_held_out_validation_is_drawn_from_training_images(tmp_path: Path):
    store = open_folder(write_sides(tmp_path, train=20, test=5))
    split = store.split(Data())
    assert [len(side) for side in split] == [48, 12, 15]
    assert {store.names[i].split("/")[0] for i in split.train + split.valid} == {"train"}


def test_a_test_folder_without_classes_is_skipped(tmp_path: Path):
    write_sides(tmp_path, train=20, val=4)
    (tmp_path / "test").mkdir()
    save_noise(tmp_path / "test" / "unknown.png", 18, 18)
    images = listed(tmp_path)
    assert images.test is None and len(images.valid or ()) == 12
    assert images.skipped == {"outside the class folders": 1}


def test_sides_without_class_folders_are_never_classes(tmp_path: Path):
    for side in ("train", "test"):
        (tmp_path / side).mkdir()
        for i in range(5):
            save_noise(tmp_path / side / f"{i}.png", 18, 18, i)
    with pytest.raises(
        UserError, match=r"data.dir: found no folders in .*train; must hold two or more folders of images"
    ):
        listed(tmp_path)


def test_what_is_no_split_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"found test, val in .*, a split without its folder train"):
        listed(write_sides(tmp_path / "a", val=2, test=2))
    with pytest.raises(UserError, match=r"found train, val, valid in .*; two of them are the valid images"):
        listed(write_sides(tmp_path / "b", train=2, val=2, valid=2))
    root = write_sides(tmp_path / "c", train=2, val=2)
    shutil.copytree(root / "val" / "cat", root / "val" / "wolf")
    with pytest.raises(UserError, match=r"found classes in .*val that .*train has not: wolf"):
        listed(root)


def test_train_among_other_names_is_a_class(tmp_path: Path):
    for name in ("train", "car", "bicycle"):
        (tmp_path / name).mkdir()
        save_noise(tmp_path / name / "0.png", 18, 18)
    assert listed(tmp_path).classes == ("bicycle", "car", "train") and listed(tmp_path).valid is None


def test_data_info_says_which_split_it_is(tmp_path: Path, lthrun: Callable):
    root = write_sides(tmp_path / "set", train=20, val=4)
    save_noise(root / "val" / "cat" / "copy.png", 18, 18, [0, 0, 7])  # of train/cat/007.png
    chosen = ["--set", "data.dataset=folder", "--data-dir", root]
    shown = lthrun("data", "info", *chosen)
    assert shown.status == 0 and "the data set's own split is kept: valid" in shown.out
    assert "train/cat/007.png and val/cat/copy.png" in shown.out, "identical images on two sides are named"
    facts = json.loads(lthrun("data", "info", *chosen, "--json").out)
    assert (facts["own_sides"], facts["n_train"], facts["n_valid"], facts["n_test"]) == (["valid"], 60, 13, 0)
    facts = json.loads(lthrun("data", "info", *chosen, "--set", "data.test=20", "--json").out)
    assert (facts["n_train"], facts["n_valid"], facts["n_test"]) == (48, 13, 12)


def test_a_class_without_test_images_of_the_sets_own_is_refused(tmp_path: Path, lthrun: Callable):
    root = write_sides(tmp_path / "set", train=20, test=5)
    shutil.rmtree(root / "test" / "fox")
    outcome = lthrun("baseline", "--set", "data.dataset=folder", "--data-dir", root, "--dry-run")
    assert outcome.status == 2
    assert "data.dir: there is no fox among the 10 test images of the data set's own" in outcome.err


@pytest.mark.usefixtures("tiny_model")
def test_test_images_are_never_seen_in_training_or_validation(tmp_path: Path, lthrun: Callable):
    """An experiment on a set whose test images are other pictures than before has the same numbers."""
    outcomes = []
    for number in range(2):
        root = write_sides(tmp_path / f"set{number}", train=20, test=5)
        if number:
            for c, name in enumerate(CLASSES):
                for i in range(5):
                    save_noise(root / "test" / name / f"{i:03}.png", 18, 18, [9, c, i])
        done = lthrun(
            "ticket", "--set", "data.dataset=folder", "--data-dir", root, "--set", "data.image_size=16", "--epochs", "2",
            "--set", "training.batch_size=8", "--steps", "1", "--json",
        )  # fmt: skip
        assert done.status == 0, done.err
        found = json.loads(done.out)
        outcomes.append(
            (found["accuracy"], [level["accuracy"] for level in found["levels"]], found["n_train"], found["n_valid"])
        )
    assert outcomes[0] == outcomes[1] and outcomes[0][2:] == (48, 12)
