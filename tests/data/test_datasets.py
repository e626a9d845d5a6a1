"""Data sets beside the default: folders of classes, CIFAR-10, breeds; and files of every kind."""

from __future__ import annotations

import hashlib
import pickle
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lthrun import data
from lthrun.experiments import load_config
from lthrun.config.sections import Data
from lthrun.data import cifar, folder, pets, store
from lthrun.errors import MissingData, UserError
from lthrun.levels.context import prepare

COLOUR = (200, 100, 50)
GREY = round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Three classes of 10 images each, one of them deeper, under names that repeat."""
    root = tmp_path / "own"
    for c, name in enumerate(("cherry", "apple", "banana")):
        (root / name / "deep").mkdir(parents=True)
        for i in range(10):
            pixels = np.random.default_rng([c, i]).integers(0, 256, (20, 18 + i, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / ("deep" if i == 9 else "") / f"{i}.png")
    return root


def found(root: Path) -> data.Images:
    return folder.images(Data(dataset="folder", dir=str(root)))


def test_a_folder_of_class_folders(own: Path):
    images = found(own)
    assert images.classes == ("apple", "banana", "cherry") and Counter(images.labels) == {0: 10, 1: 10, 2: 10}
    assert images.names[0] == "apple/0.png" and "cherry/deep/9.png" in images.names and len(set(images.names)) == 30
    assert all(images.classes[label] == n.split("/")[0] for label, n in zip(images.labels, images.names, strict=True))
    made = store.open_store(images, 16)
    train, valid = made.split(20, 42)
    assert (made.names, len(train), len(valid)) == (images.names, 24, 6)
    shutil.copytree(own, own.parent / "elsewhere")
    assert store.open_store(found(own.parent / "elsewhere"), 16).identity == made.identity


def test_hidden_and_other_files_are_passed_over_and_suffixes_are_of_any_case(own: Path):
    for name in (".hidden.png", "notes.txt", "Thumbs.db", "deep/._0.png"):
        (own / "apple" / name).write_bytes(b"?")
    for name in (".cache", "apple/.trash"):
        (own / name).mkdir()
        shutil.copy(own / "apple" / "0.png", own / name / "0.png")
    shutil.copy(own / "apple" / "0.png", own / "stray.png")
    assert len(found(own).paths) == 30
    for suffix in ("JPG", "Jpeg", "gif", "BMP", "webp", "tif", "TIFF"):
        Image.new("RGB", (20, 20)).save(own / "apple" / f"more.{suffix}")
    assert len(found(own).paths) == 37


def test_a_file_that_moves_to_another_class_makes_another_store(own: Path):
    first = store.open_store(found(own), 16)
    (own / "apple" / "3.png").rename(own / "banana" / "3b.png")
    again = store.open_store(found(own), 16)
    assert again.identity != first.identity and Counter(again.labels) == {0: 9, 1: 11, 2: 10}


def test_an_unreadable_file_is_named_with_its_folder(own: Path):
    (own / "apple" / "3.png").write_bytes(b"?")
    with pytest.raises(UserError, match="1 of 30 images cannot be read: apple/3.png;"):
        store.open_store(found(own), 16)


def test_a_folder_that_is_no_data_set_is_refused(own: Path):
    with pytest.raises(UserError, match=r"data.dir: found null; .*--data-dir DIR"):
        folder.images(Data(dataset="folder"))
    with pytest.raises(UserError, match=r"data.dir: .*nowhere cannot be read: No such file"):
        found(own / "nowhere")
    with pytest.raises(UserError, match=r"data.dir: found one folder only, deep, in .*must hold two or more folders"):
        found(own / "apple")
    with pytest.raises(UserError, match="data.dir: found no folders in"):
        found(own / "apple" / "deep")
    (own / "damson").mkdir()
    with pytest.raises(UserError, match=r"data.dir: found no images .* in 1 of the 4 folders of .*: damson"):
        found(own)


# What each kind of file shows; each is written under a .jpg name. A pair of colours: left and right half.
def image(kind: str) -> tuple[Image.Image, dict[str, object], tuple[object, object]]:
    plain = Image.new("RGB", (40, 30), COLOUR)
    clear = Image.new("RGBA", (40, 30), (*COLOUR, 255))
    clear.paste((0, 200, 0, 0), (20, 0, 40, 30))
    half = Image.new("RGBA", (40, 30), (*COLOUR, 128))
    halved = tuple(round(255 + (c - 255) * 128 / 255) for c in COLOUR)
    ramp = Image.fromarray(np.full((30, 40), 40_000, np.uint16))
    palette = Image.new("P", (40, 30), 1)
    palette.putpalette([0, 200, 0, *COLOUR])
    palette.paste(0, (20, 0, 40, 30))
    white, grey = (255, 255, 255), (GREY,) * 3
    frames = {"save_all": True, "append_images": [Image.new("RGB", (40, 30), (0, 0, 255))]}
    return {
        "JPEG": (plain, {"format": "JPEG"}, (COLOUR, COLOUR)),
        "PNG": (plain, {"format": "PNG"}, (COLOUR, COLOUR)),
        "GIF": (plain, {"format": "GIF"}, (COLOUR, COLOUR)),
        "BMP": (plain, {"format": "BMP"}, (COLOUR, COLOUR)),
        "WEBP": (plain, {"format": "WEBP", "lossless": True}, (COLOUR, COLOUR)),
        "TIFF": (plain, {"format": "TIFF"}, (COLOUR, COLOUR)),
        "animated GIF": (plain, {"format": "GIF", **frames}, (COLOUR, COLOUR)),
        "grey JPEG": (plain.convert("L"), {"format": "JPEG"}, (grey, grey)),
        "grey PNG": (plain.convert("L"), {"format": "PNG"}, (grey, grey)),
        "black and white": (Image.new("1", (40, 30), 1), {"format": "PNG"}, (white, white)),
        "16-bit grey PNG": (ramp, {"format": "PNG"}, ((40_000 // 257,) * 3,) * 2),
        "16-bit grey TIFF": (ramp, {"format": "TIFF"}, ((40_000 // 257,) * 3,) * 2),
        "CMYK": (plain.convert("CMYK"), {"format": "JPEG", "quality": 95}, (COLOUR, COLOUR)),
        "alpha PNG": (clear, {"format": "PNG"}, (COLOUR, white)),
        "half alpha PNG": (half, {"format": "PNG"}, (halved, halved)),
        "alpha WEBP": (clear, {"format": "WEBP", "lossless": True}, (COLOUR, white)),
        "grey alpha PNG": (clear.convert("LA"), {"format": "PNG"}, (grey, white)),
        "palette PNG": (palette, {"format": "PNG"}, (COLOUR, (0, 200, 0))),
        "transparent palette PNG": (palette, {"format": "PNG", "transparency": 0}, (COLOUR, white)),
        "transparent GIF": (palette, {"format": "GIF", "transparency": 0}, (COLOUR, white)),
        "colour-keyed PNG": (plain, {"format": "PNG", "transparency": COLOUR}, (white, white)),
    }[kind]


KINDS = """JPEG, PNG, GIF, BMP, WEBP, TIFF, animated GIF, grey JPEG, grey PNG, black and white, 16-bit grey PNG,
    16-bit grey TIFF, CMYK, alpha PNG, half alpha PNG, alpha WEBP, grey alpha PNG, palette PNG,
    transparent palette PNG, transparent GIF, colour-keyed PNG"""


@pytest.mark.parametrize("kind", [kind.strip() for kind in KINDS.split(",")])
def test_files_of_every_kind_show_their_colours(tmp_path: Path, kind: str):
    made, how, (left, right) = image(kind)
    made.save(tmp_path / "a.jpg", **how)
    decoded = store.decode(tmp_path / "a.jpg", 30)
    assert not isinstance(decoded, str), decoded
    _, height, width, content = decoded
    pixels = np.frombuffer(content, np.uint8).reshape(height, width, 3).astype(int)
    assert (height, width) == (30, 40)
    assert np.abs(pixels[:, :18] - left).max() <= 4 and np.abs(pixels[:, 22:] - right).max() <= 4


def test_an_orientation_in_the_exif_data_is_not_applied(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Image.new("RGB", (40, 30), COLOUR).save(tmp_path / "a.jpg", exif=exif)
    decoded = store.decode(tmp_path / "a.jpg", 30)
    assert decoded[1:3] == (30, 40)


def test_breeds_are_taken_from_file_names(images: Path):
    species, breeds = (pets.images(Data(dir=str(images), labels=labels)) for labels in ("species", "breed"))
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
        pets.images(Data(dir=str(tmp_path), labels="breed"))


@pytest.mark.parametrize("dataset", ["folder", "cifar10", "synthetic"])
def test_breeds_of_another_set_are_refused(dataset: str):
    with pytest.raises(UserError) as error:
        load_config(None, "ticket", options={"data.dataset": dataset, "data.labels": "breed"})
    assert str(error.value) == (
        f"data.labels: found breed; the images of data.dataset: {dataset} have no breeds: use species (which other "
        "data sets pass over), or data.dataset: pets"
    )


def test_classes_that_one_side_lacks_are_named_but_not_all(images: Path):
    options = {"data.dir": str(images), "data.labels": "breed", "data.validation": 80.0}
    config = load_config(None, "baseline", options=options)
    with pytest.raises(UserError, match=r"there is no \w+ and no \w+ and no \w+ \(and \d+ more classes\) among the 12"):
        prepare(config, lambda *_, **__: None)


CLASSES = "airplane automobile bird cat deer dog frog horse ship truck".split()
TRAIN, TEST = 40, 20


def write_cifar(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small copy in torchvision's layout, for which torchvision knows the MD5 sums."""
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
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LTHRUN_CACHE", str(tmp_path / "cache"))
    return write_cifar(tmp_path / "copy", monkeypatch)


def test_cifar10_keeps_its_pixels_labels_and_split(copy: Path):
    from torchvision.datasets import CIFAR10

    images = cifar.images(Data(dataset="cifar10", dir=str(copy)))
    made = store.open_store(images, 32)
    assert made.classes == tuple(CLASSES) and len(made.names) == TRAIN + TEST
    train, valid = made.split(20, 42)
    assert (len(train), len(valid)) == (TRAIN, TEST) and sorted(train + valid) == list(range(TRAIN + TEST))
    assert made.split(50, 7) == (train, valid), "validation and split_seed do not apply"
    pixels = np.fromfile(made.pixels, np.uint8).reshape(-1, 32, 32, 3)
    for part, ids in (("train", train), ("test", valid)):
        original = CIFAR10(str(copy), train=part == "train")
        assert {made.names[i].split("/")[1][: len(part)] for i in ids} == {part}
        for i in ids:
            number = int(made.names[i][-9:-4])
            assert np.array_equal(pixels[i], original.data[number]) and made.labels[i] == original.targets[number]


def test_cifar10_is_unpickled_once_and_only_where_its_sums_are_right(copy: Path, monkeypatch: pytest.MonkeyPatch):
    batch = copy / "cifar-10-batches-py" / "data_batch_2"
    whole = batch.read_bytes()
    batch.write_bytes(whole + b"?")
    with monkeypatch.context() as patch:
        patch.setattr(pickle, "load", lambda *_, **__: pytest.fail("unpickled what was not checked"))
        with pytest.raises(UserError, match="cifar-10-batches-py is not a whole copy of CIFAR-10; download it"):
            cifar.images(Data(dataset="cifar10", dir=str(copy)))
    assert not list(cifar.home().glob("png*")), "nothing was made"
    batch.write_bytes(whole)
    first = cifar.images(Data(dataset="cifar10", dir=str(copy)))
    monkeypatch.setattr(pickle, "load", lambda *_, **__: pytest.fail("read again"))
    assert cifar.images(Data(dataset="cifar10", dir=str(copy))) == first == cifar.images(Data(dataset="cifar10"))


def test_cifar10_that_is_not_there(copy: Path, tmp_path: Path):
    with pytest.raises(MissingData, match="CIFAR-10 is not on this machine; download it .170 MB. with `lthrun data"):
        cifar.images(Data(dataset="cifar10"))
    with pytest.raises(UserError, match=r"--data-dir .*: found no .*cifar-10-batches-py; name the folder"):
        cifar.images(Data(dataset="cifar10", dir=str(tmp_path)))
    (cifar.home() / cifar.LAYOUT).mkdir(parents=True)  # a download that was cut short can be taken up again
    with pytest.raises(MissingData, match="not a whole copy"):
        cifar.images(Data(dataset="cifar10"))


def test_levels_of_a_set_with_its_own_split_do_not_depend_on_the_split_keys(copy: Path):
    def conditions(**options: object) -> dict[str, object]:
        given = {"data.dataset": "cifar10", "data.dir": str(copy), "data.image_size": 32, "training.batch_size": 8}
        return prepare(load_config(None, "baseline", options=given | options), lambda *_, **__: None).conditions.data

    assert conditions() == conditions(**{"data.validation": 50.0, "data.split_seed": 1})
    assert set(conditions()) == {"images", "held_out"}


@pytest.mark.usefixtures("tiny_model")
def test_data_prepare_downloads_the_set_it_is_asked_for(lthrun, copy: Path, monkeypatch: pytest.MonkeyPatch):
    asked = ["--set", "data.dataset=cifar10", "--set", "data.image_size=32"]
    assert lthrun("data", "info", *asked).status == 2
    fetched = data.Download("CIFAR-10", "170 MB", lambda: shutil.copytree(copy, cifar.home(), dirs_exist_ok=True))
    monkeypatch.setitem(data.DOWNLOADS, "cifar10", fetched)
    assert lthrun("data", "prepare", *asked).status == 0
    small = ["--epochs", "2", "--set", "training.batch_size=8", "--quiet"]
    done = lthrun("ticket", *asked, *small, "--set", "pruning.steps=1", "--device", "cpu")
    assert done.status == 0, done.err
    assert f"{TEST}" in lthrun("data", "info", *asked).out


@pytest.mark.usefixtures("tiny_model")
def test_an_experiment_on_a_folder_of_three_classes(lthrun, own: Path):
    asked = ["--set", "data.dataset=folder", "--data-dir", own, "--set", "data.image_size=16", "--epochs", "1"]
    done = lthrun("baseline", *asked, "--set", "training.batch_size=8", "--set", "data.validation=40")
    assert done.status == 0, done.err
    assert "chance: 33" in done.out
