"""Data sets beside the default: folders of classes, CIFAR-10, breeds."""

from __future__ import annotations

import hashlib
import pickle
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lthrun import data
from lthrun.config.sections import Data
from lthrun.data import cifar, folder, pets, store
from lthrun.errors import MissingData, UserError
from lthrun.experiments import load_config
from lthrun.levels.context import prepare


def listed(root: Path) -> data.Images:
    return folder.list_folder(Data(dataset="folder", dir=str(root)))


def test_a_folder_of_class_folders(class_folders: Path):
    images = listed(class_folders)
    assert images.classes == ("apple", "banana", "cherry") and Counter(images.labels) == {0: 10, 1: 10, 2: 10}
    assert images.names[0] == "apple/0.png" and "cherry/deep/9.png" in images.names and len(set(images.names)) == 30
    assert all(images.classes[label] == n.split("/")[0] for label, n in zip(images.labels, images.names, strict=True))
    opened = store.open_store(images, 16)
    train, valid = opened.split(20, 42)
    assert (opened.names, len(train), len(valid)) == (images.names, 24, 6)
    shutil.copytree(class_folders, class_folders.parent / "moved")
    assert store.open_store(listed(class_folders.parent / "moved"), 16).identity == opened.identity


def test_hidden_and_other_files_are_skipped_and_suffixes_are_of_any_case(class_folders: Path):
    for name in (".hidden.png", "notes.txt", "Thumbs.db", "deep/._0.png"):
        (class_folders / "apple" / name).write_bytes(b"?")
    for name in (".cache", "apple/.trash"):
        (class_folders / name).mkdir()
        shutil.copy(class_folders / "apple" / "0.png", class_folders / name / "0.png")
    shutil.copy(class_folders / "apple" / "0.png", class_folders / "stray.png")
    assert len(listed(class_folders).paths) == 30
    for suffix in ("JPG", "Jpeg", "gif", "BMP", "webp", "tif", "TIFF"):
        Image.new("RGB", (20, 20)).save(class_folders / "apple" / f"more.{suffix}")
    assert len(listed(class_folders).paths) == 37


def test_moving_a_file_to_another_class_changes_the_store(class_folders: Path):
    first = store.open_store(listed(class_folders), 16)
    (class_folders / "apple" / "3.png").rename(class_folders / "banana" / "3b.png")
    again = store.open_store(listed(class_folders), 16)
    assert again.identity != first.identity and Counter(again.labels) == {0: 9, 1: 11, 2: 10}


def test_an_unreadable_file_is_named_with_its_folder(class_folders: Path):
    (class_folders / "apple" / "3.png").write_bytes(b"?")
    with pytest.raises(UserError, match="1 of 30 images cannot be read: apple/3.png;"):
        store.open_store(listed(class_folders), 16)


def test_a_folder_without_class_folders_is_refused(class_folders: Path):
    with pytest.raises(UserError, match=r"data.dir: found null; .*--data-dir DIR"):
        folder.list_folder(Data(dataset="folder"))
    with pytest.raises(UserError, match=r"data.dir: .*nowhere cannot be read: No such file"):
        listed(class_folders / "nowhere")
    with pytest.raises(UserError, match=r"data.dir: found one folder only, deep, in .*must hold two or more folders"):
        listed(class_folders / "apple")
    with pytest.raises(UserError, match="data.dir: found no folders in"):
        listed(class_folders / "apple" / "deep")
    (class_folders / "damson").mkdir()
    with pytest.raises(UserError, match=r"data.dir: found no images .* in 1 of the 4 folders of .*: damson"):
        listed(class_folders)


def test_breeds_come_from_file_names(images: Path):
    species, breeds = (pets.list_pets(Data(dir=str(images), labels=labels)) for labels in ("species", "breed"))
    assert len(breeds.classes) == 37 and list(breeds.classes) == sorted(breeds.classes)
    assert {"Abyssinian", "american_pit_bull_terrier"} <= set(breeds.classes) and breeds.paths == species.paths
    for name, label in zip(breeds.names, breeds.labels, strict=True):
        assert name.rpartition("_")[0] == breeds.classes[label]
    by_species, by_breed = store.open_store(species, 16), store.open_store(breeds, 16)
    assert by_species.identity != by_breed.identity and by_species.split(20, 42) == by_breed.split(20, 42)
    assert store.open_store(species, 16) == by_species, "each has a store of its own"


def test_one_breed_is_refused(images: Path, tmp_path: Path):
    (tmp_path / "images").mkdir()
    for path in (images / "images").glob("Bengal_*"):
        shutil.copy(path, tmp_path / "images")
    with pytest.raises(UserError, match="images are of one class, Bengal; file names are the breed, an underscore"):
        pets.list_pets(Data(dir=str(tmp_path), labels="breed"))


@pytest.mark.parametrize("dataset", ["folder", "cifar10", "synthetic"])
def test_breeds_of_another_set_are_refused(dataset: str):
    with pytest.raises(UserError) as error:
        load_config(None, "ticket", options={"data.dataset": dataset, "data.labels": "breed"})
    assert str(error.value) == (
        f"data.labels: found breed; the images of data.dataset: {dataset} have no breeds: use species (which other "
        "data sets ignore), or data.dataset: pets"
    )


def test_classes_missing_on_one_side_are_named_up_to_three(images: Path):
    options = {"data.dir": str(images), "data.labels": "breed", "data.validation": 80.0}
    config = load_config(None, "baseline", options=options)
    with pytest.raises(UserError, match=r"there is no \w+ and no \w+ and no \w+ \(and \d+ more classes\) among the 12"):
        prepare(config, lambda *_, **__: None)


CLASSES = "airplane automobile bird cat deer dog frog horse ship truck".split()
TRAIN, TEST = 40, 20


def write_cifar(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small copy in torchvision's layout, with its MD5 checksums set in torchvision."""
    from torchvision.datasets import CIFAR10

    place = root / "cifar-10-batches-py"
    place.mkdir(parents=True)
    rng = np.random.default_rng(0)

    def put(name: str, content: object) -> list[str]:
        (place / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5((place / name).read_bytes()).hexdigest()]

    def batch(name: str, count: int) -> list[str]:
        pixels = rng.integers(0, 256, (count, 3072), dtype=np.uint8)
        return put(name, {"data": pixels, "labels": [i % 10 for i in range(count)]})

    monkeypatch.setattr(CIFAR10, "train_list", [batch("data_batch_1", TRAIN // 2), batch("data_batch_2", TRAIN // 2)])
    monkeypatch.setattr(CIFAR10, "test_list", [batch("test_batch", TEST)])
    _, md5 = put("batches.meta", {"label_names": CLASSES})
    monkeypatch.setattr(CIFAR10, "meta", {"filename": "batches.meta", "key": "label_names", "md5": md5})
    return root


@pytest.fixture
def cifar_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LTHRUN_CACHE", str(tmp_path / "cache"))
    return write_cifar(tmp_path / "copy", monkeypatch)


def test_cifar10_keeps_its_pixels_labels_and_split(cifar_copy: Path):
    from torchvision.datasets import CIFAR10

    images = cifar.list_cifar10(Data(dataset="cifar10", dir=str(cifar_copy)))
    opened = store.open_store(images, 32)
    assert opened.classes == tuple(CLASSES) and len(opened.names) == TRAIN + TEST
    train, valid = opened.split(20, 42)
    assert (len(train), len(valid)) == (TRAIN, TEST) and sorted(train + valid) == list(range(TRAIN + TEST))
    assert opened.split(50, 7) == (train, valid), "validation and split_seed do not apply"
    pixels = np.fromfile(opened.pixels, np.uint8).reshape(-1, 32, 32, 3)
    for part, ids in (("train", train), ("test", valid)):
        original = CIFAR10(str(cifar_copy), train=part == "train")
        assert {opened.names[i].split("/")[1][: len(part)] for i in ids} == {part}
        for i in ids:
            number = int(opened.names[i][-9:-4])
            assert np.array_equal(pixels[i], original.data[number]) and opened.labels[i] == original.targets[number]


def test_cifar10_is_unpickled_once_and_only_with_correct_checksums(cifar_copy: Path, monkeypatch: pytest.MonkeyPatch):
    batch = cifar_copy / "cifar-10-batches-py" / "data_batch_2"
    whole = batch.read_bytes()
    batch.write_bytes(whole + b"?")
    with monkeypatch.context() as patch:
        patch.setattr(pickle, "load", lambda *_, **__: pytest.fail("unpickled before its checksum was verified"))
        with pytest.raises(UserError, match="cifar-10-batches-py is not a complete copy of CIFAR-10; download it"):
            cifar.list_cifar10(Data(dataset="cifar10", dir=str(cifar_copy)))
    assert not list(cifar.home().glob("png*")), "nothing was written"
    batch.write_bytes(whole)
    first = cifar.list_cifar10(Data(dataset="cifar10", dir=str(cifar_copy)))
    monkeypatch.setattr(pickle, "load", lambda *_, **__: pytest.fail("read again"))
    assert (
        cifar.list_cifar10(Data(dataset="cifar10", dir=str(cifar_copy)))
        == first
        == cifar.list_cifar10(Data(dataset="cifar10"))
    )


def test_missing_cifar10(cifar_copy: Path, tmp_path: Path):
    with pytest.raises(MissingData, match="CIFAR-10 is not on this machine; download it .170 MB. with `lthrun data"):
        cifar.list_cifar10(Data(dataset="cifar10"))
    with pytest.raises(UserError, match=r"--data-dir .*: found no .*cifar-10-batches-py; name the folder"):
        cifar.list_cifar10(Data(dataset="cifar10", dir=str(tmp_path)))
    (cifar.home() / cifar.LAYOUT).mkdir(parents=True)  # an interrupted download can be resumed
    with pytest.raises(MissingData, match="not a complete copy"):
        cifar.list_cifar10(Data(dataset="cifar10"))


def test_levels_of_a_set_with_its_own_split_do_not_depend_on_the_split_keys(cifar_copy: Path):
    def conditions(**options: object) -> dict[str, object]:
        given = {
            "data.dataset": "cifar10",
            "data.dir": str(cifar_copy),
            "data.image_size": 32,
            "training.batch_size": 8,
        }
        return prepare(load_config(None, "baseline", options=given | options), lambda *_, **__: None).conditions.data

    assert conditions() == conditions(**{"data.validation": 50.0, "data.split_seed": 1})
    assert set(conditions()) == {"images", "held_out"}


@pytest.mark.usefixtures("tiny_model")
def test_data_prepare_downloads_the_chosen_data_set(lthrun, cifar_copy: Path, monkeypatch: pytest.MonkeyPatch):
    asked = ["--set", "data.dataset=cifar10", "--set", "data.image_size=32"]
    assert lthrun("data", "info", *asked).status == 2
    fetched = data.Download("CIFAR-10", "170 MB", lambda: shutil.copytree(cifar_copy, cifar.home(), dirs_exist_ok=True))
    monkeypatch.setitem(data.DATASETS, "cifar10", replace(data.DATASETS["cifar10"], download=fetched))
    assert lthrun("data", "prepare", *asked).status == 0
    small = ["--epochs", "2", "--set", "training.batch_size=8", "--quiet"]
    done = lthrun("ticket", *asked, *small, "--set", "pruning.steps=1", "--device", "cpu")
    assert done.status == 0, done.err
    assert f"{TEST}" in lthrun("data", "info", *asked).out


@pytest.mark.usefixtures("tiny_model")
def test_an_experiment_on_a_folder_of_three_classes(lthrun, class_folders: Path):
    asked = [
        "--set",
        "data.dataset=folder",
        "--data-dir",
        class_folders,
        "--set",
        "data.image_size=16",
        "--epochs",
        "1",
    ]
    done = lthrun("baseline", *asked, "--set", "training.batch_size=8", "--set", "data.validation=40")
    assert done.status == 0, done.err
    assert "chance is 33 %" in done.out
