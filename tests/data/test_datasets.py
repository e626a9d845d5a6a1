"""Data sets beside the default: folders of classes, CIFAR-10, breeds."""

from __future__ import annotations

import hashlib
import json
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
from lthrun.data import folder, pets, store
from lthrun.data.torchvision_sets import CIFAR10, MNIST, TorchvisionSet
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
    train, valid, test = opened.split(Data())
    assert (opened.names, len(train), len(valid), test) == (images.names, 24, 6, [])
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
    assert by_species.identity != by_breed.identity
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
    with pytest.raises(UserError, match=r"there is no \w+ and no \w+ and no \w+ \(and \d+ more classes\) among the 0"):
        prepare(config, lambda *_, **__: None)


CLASSES = "airplane automobile bird cat deer dog frog horse ship truck".split()
TRAIN, TEST = 100, 20


def write_cifar(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small copy in torchvision's layout, with its MD5 checksums set in torchvision."""
    from torchvision import datasets

    place = root / "cifar-10-batches-py"
    place.mkdir(parents=True)
    rng = np.random.default_rng(0)

    def put(name: str, content: object) -> list[str]:
        (place / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5((place / name).read_bytes()).hexdigest()]

    def batch(name: str, count: int) -> list[str]:
        pixels = rng.integers(0, 256, (count, 3072), dtype=np.uint8)
        return put(name, {"data": pixels, "labels": [i % 10 for i in range(count)]})

    monkeypatch.setattr(
        datasets.CIFAR10, "train_list", [batch("data_batch_1", TRAIN // 2), batch("data_batch_2", TRAIN // 2)]
    )
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [batch("test_batch", TEST)])
    _, md5 = put("batches.meta", {"label_names": CLASSES})
    monkeypatch.setattr(datasets.CIFAR10, "meta", {"filename": "batches.meta", "key": "label_names", "md5": md5})
    return root


@pytest.fixture
def cifar_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LTHRUN_CACHE", str(tmp_path / "cache"))
    return write_cifar(tmp_path / "copy", monkeypatch)


def test_cifar10_keeps_its_pixels_labels_and_test_images(cifar_copy: Path):
    from torchvision import datasets

    images = CIFAR10.list_images(Data(dataset="cifar10", dir=str(cifar_copy)))
    opened = store.open_store(images, 32)
    assert opened.classes == tuple(CLASSES) and len(opened.names) == TRAIN + TEST
    train, valid, test = opened.split(Data())
    assert (len(train), len(valid), len(test)) == (TRAIN - TRAIN // 5, TRAIN // 5, TEST), "20 % of the training images"
    assert sorted(train + valid + test) == list(range(TRAIN + TEST))
    other = opened.split(Data(validation=50.0, split_seed=7, test=10.0))
    assert (len(other.valid), other.test) == (TRAIN // 2, test), "the test images are the set's own"
    pixels = np.fromfile(opened.pixels, np.uint8).reshape(-1, 32, 32, 3)
    for part, ids in (("train", train + valid), ("test", test)):
        original = datasets.CIFAR10(str(cifar_copy), train=part == "train")
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
            CIFAR10.list_images(Data(dataset="cifar10", dir=str(cifar_copy)))
    assert not list(CIFAR10.home.glob("png*")), "nothing was written"
    batch.write_bytes(whole)
    first = CIFAR10.list_images(Data(dataset="cifar10", dir=str(cifar_copy)))
    monkeypatch.setattr(pickle, "load", lambda *_, **__: pytest.fail("read again"))
    assert (
        CIFAR10.list_images(Data(dataset="cifar10", dir=str(cifar_copy)))
        == first
        == CIFAR10.list_images(Data(dataset="cifar10"))
    )


def test_missing_cifar10(cifar_copy: Path, tmp_path: Path):
    with pytest.raises(MissingData, match="CIFAR-10 is not on this machine; download it .170 MB. with `lthrun data"):
        CIFAR10.list_images(Data(dataset="cifar10"))
    with pytest.raises(
        UserError, match=r"--data-dir .*: found neither .*cifar-10-batches-py nor both .*train and .*test; name"
    ):
        CIFAR10.list_images(Data(dataset="cifar10", dir=str(tmp_path)))
    (CIFAR10.home / CIFAR10.layout).mkdir(parents=True)  # an interrupted download can be resumed
    with pytest.raises(MissingData, match="not a complete copy"):
        CIFAR10.list_images(Data(dataset="cifar10"))


def test_levels_depend_on_which_images_are_trained_on_and_validated(cifar_copy: Path):
    def conditions(**options: object) -> dict[str, object]:
        given = {
            "data.dataset": "cifar10",
            "data.dir": str(cifar_copy),
            "data.image_size": 32,
            "training.batch_size": 8,
        }
        return prepare(load_config(None, "baseline", options=given | options), lambda *_, **__: None).conditions.data

    assert set(conditions()) == {"images", "split", "test"}, "its own test images"
    assert conditions() == conditions(**{"data.test": 10.0})
    others = [conditions(**{key: value}) for key, value in (("data.validation", 50.0), ("data.split_seed", 1))]
    assert len({facts["split"] for facts in (conditions(), *others)}) == 3


@pytest.mark.usefixtures("tiny_model")
def test_data_prepare_downloads_the_chosen_data_set(lthrun, cifar_copy: Path, monkeypatch: pytest.MonkeyPatch):
    asked = ["--set", "data.dataset=cifar10", "--set", "data.image_size=32"]
    assert lthrun("data", "info", *asked).status == 2
    fetched = data.Download("CIFAR-10", "170 MB", lambda: shutil.copytree(cifar_copy, CIFAR10.home, dirs_exist_ok=True))
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


def write_mnist(root: Path) -> Path:
    """A small copy in torchvision's layout."""
    place = root / "MNIST" / "raw"
    place.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, count in (("train", TRAIN), ("t10k", TEST)):
        pixels, labels = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8), np.arange(count, dtype=np.uint8) % 10
        for kind, values in (("images-idx3", pixels), ("labels-idx1", labels)):
            header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes()
            (place / f"{part}-{kind}-ubyte").write_bytes(header + values.tobytes())
    return root


def test_mnist_keeps_its_pixels_labels_test_images_and_one_channel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from torchvision import datasets

    monkeypatch.setenv("LTHRUN_CACHE", str(tmp_path / "cache"))
    with pytest.raises(MissingData, match="MNIST is not on this machine; download it .12 MB. with `lthrun data prep"):
        MNIST.list_images(Data(dataset="mnist"))
    root = write_mnist(tmp_path / "copy")
    opened = store.open_store(MNIST.list_images(Data(dataset="mnist", dir=str(root))), 28)
    assert opened.channels == 1 and opened.classes == tuple("0123456789")
    train, valid, test = opened.split(Data())
    assert (len(train), len(valid), len(test)) == (TRAIN - TRAIN // 5, TRAIN // 5, TEST)
    pixels = np.fromfile(opened.pixels, np.uint8).reshape(-1, 28, 28)
    for part, ids in (("train", train + valid), ("test", test)):
        original = datasets.MNIST(str(root), train=part == "train")
        for i in ids:
            number = int(opened.names[i][-9:-4])
            assert np.array_equal(pixels[i], original.data[number].numpy())
            assert opened.labels[i] == original.targets[number]
    with pytest.raises(UserError, match="found neither .*MNIST/raw nor both .*train and .*test; name"):
        MNIST.list_images(Data(dataset="mnist", dir=str(tmp_path)))
    (root / "MNIST" / "raw" / "train-images-idx3-ubyte").write_bytes(b"?")
    shutil.rmtree(MNIST.home)
    with pytest.raises(UserError, match="not a complete copy of MNIST"):
        MNIST.list_images(Data(dataset="mnist", dir=str(root)))


@pytest.mark.parametrize(("dataset", "shape"), [(MNIST, (28, 28)), (CIFAR10, (32, 32, 3))])
def test_downloaded_sets_may_be_folders_of_files(tmp_path: Path, dataset: TorchvisionSet, shape: tuple[int, ...]):
    for side in ("train", "test"):
        for digit in range(3):
            (tmp_path / side / str(digit)).mkdir(parents=True)
            for i in range(12):
                values = np.random.default_rng([digit, i]).integers(0, 256, shape, dtype=np.uint8)
                Image.fromarray(values).save(tmp_path / side / str(digit) / f"{i}.png")
    (tmp_path / "samples" / "more").mkdir(parents=True)
    opened = store.open_store(dataset.list_images(Data(dataset=dataset.name, dir=str(tmp_path))), shape[0])
    assert opened.channels == (*shape, 1)[2] and len(opened.split(Data()).test) == 36


@pytest.mark.usefixtures("cache")
def test_a_model_of_gray_images_trains_from_the_command_line(lthrun, tmp_path: Path):
    root = write_mnist(tmp_path / "copy")
    done = lthrun(
        "ticket", "--model", "lenet300", "--data-dir", root, "--set", "data.dataset=mnist", "--set", "data.image_size=28",
        "--epochs", "1", "--steps", "1", "--set", "training.batch_size=8", "--set", "pruning.types=[linear]", "--json",
    )  # fmt: skip
    assert done.status == 0, done.err
    assert json.loads(done.out)["levels"][1]["layers"] == {"fc1.weight": [117600, 235200], "fc2.weight": [15000, 30000]}
