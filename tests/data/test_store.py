"""Images found, decoded once, split, and batched."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lthrun.config.sections import Data
from lthrun.data import pets, store, synthetic
from lthrun.data.batches import Batches
from lthrun.errors import MissingData, UserError

CPU = torch.device("cpu")


def save(folder: Path, name: str, width: int, height: int, seed: int = 0, **how: object) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / name, **how)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Nine images of several shapes, two of them the same bytes."""
    place = tmp_path / "set" / "images"
    place.mkdir(parents=True)
    for i, (width, height) in enumerate([(40, 30), (30, 40), (32, 32), (200, 30), (30, 200), (16, 48), (64, 65)]):
        save(place, f"{'Cat' if i % 2 else 'dog'}_{i}.jpg", width, height, i)
    shutil.copy(place / "dog_0.jpg", place / "dog_copy.jpg")
    save(place, "Cat_png.jpg", 50, 40, 9, format="PNG")
    return place


def find(folder: Path) -> pets.Images:
    return pets.images(Data(dir=str(folder.parent)))


def opened(folder: Path, size: int = 16, **how: bool) -> store.Store:
    return store.open_store(find(folder), size, **how)


def test_both_layouts_are_found_and_labelled_by_case(images: Path, tmp_path: Path):
    found = pets.images(Data(dir=str(images)))
    assert len(found.paths) == 60 and found.classes == ("cat", "dog")
    assert all((label == 0) == path.name[0].isupper() for path, label in zip(found.paths, found.labels, strict=True))
    (tmp_path / "oxford-iiit-pet").mkdir()
    (tmp_path / "oxford-iiit-pet" / "images").symlink_to(images / "images")
    assert [p.name for p in pets.images(Data(dir=str(tmp_path))).paths] == [p.name for p in found.paths]


def test_other_files_are_passed_over(folder: Path):
    for name in ("Abyssinian_100.mat", "._beagle_1.jpg", "notes.txt", ".DS_Store"):
        (folder / name).write_bytes(b"\0\1\2")
    assert len(find(folder).paths) == 9


def test_missing_empty_and_one_sided_folders_are_refused(tmp_path: Path):
    with pytest.raises(UserError, match="found neither .*images nor .*oxford-iiit-pet/images"):
        pets.images(Data(dir=str(tmp_path / "nowhere")))
    (tmp_path / "images").mkdir()
    with pytest.raises(UserError, match="holds no images"):
        pets.images(Data(dir=str(tmp_path)))
    save(tmp_path / "images", "Cat_1.jpg", 20, 20)
    with pytest.raises(UserError, match="all 1 images are of one class, cat"):
        pets.images(Data(dir=str(tmp_path)))
    with pytest.raises(MissingData, match="lthrun data prepare"):
        pets.images(Data())


def test_each_image_keeps_its_aspect_up_to_four_to_one(folder: Path):
    found = opened(folder)
    sides = {name: (w, h) for name, w, h in zip(found.names, found.widths, found.heights, strict=True)}
    assert sides["dog_0.jpg"] == (21, 16) and sides["Cat_1.jpg"] == (16, 21) and sides["dog_2.jpg"] == (16, 16)
    assert sides["Cat_3.jpg"] == (64, 16) and sides["dog_4.jpg"] == (16, 64), "200:30 is more than 4:1"
    assert sides["Cat_5.jpg"] == (16, 48)
    assert found.pixels.stat().st_size == 3 * sum(w * h for w, h in sides.values())


def test_pixels_are_those_of_a_plain_resize(folder: Path):
    # A smooth JPEG, four times too large: the decoder's own shrinking may differ a little. A PNG may not.
    y, x = np.mgrid[0:120, 0:160]
    smooth = np.stack([x, 2 * y, 255 - x], 2).astype(np.uint8)
    Image.fromarray(smooth).save(folder / "dog_smooth.jpg", quality=95)
    found = opened(folder)
    for name, tolerance in (("Cat_png.jpg", 0), ("dog_smooth.jpg", 6)):
        pixels = reference(found, found.names.index(name))
        with Image.open(folder / name) as image:
            plain = image.convert("RGB").resize(pixels.shape[1::-1], Image.Resampling.BILINEAR)
        assert np.abs(pixels.astype(int) - np.asarray(plain)).max() <= tolerance


def test_a_second_start_decodes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch):
    first = opened(folder)
    monkeypatch.setattr(store, "decode", lambda *_: pytest.fail("decoded again"))
    assert opened(folder) == first


@pytest.mark.parametrize("change", ["file", "size", "version"])
def test_the_store_is_made_again_when_files_size_or_version_change(folder: Path, change: str, monkeypatch):
    first, size = opened(folder).identity, 16
    if change == "file":
        save(folder, "dog_0.jpg", 44, 30, 77)
    elif change == "size":
        size = 20
    else:
        monkeypatch.setattr(store, "VERSION", store.VERSION + 1)
    again = opened(folder, size)
    assert again.identity != first
    assert len(list(again.pixels.parent.glob("pixels-*"))) == 1, "one store is kept per folder and size"


def test_identity_is_of_contents_wherever_they_lie(folder: Path, tmp_path: Path):
    shutil.copytree(folder, tmp_path / "elsewhere" / "images")
    assert opened(tmp_path / "elsewhere" / "images").identity == opened(folder).identity


def test_names_need_not_be_utf8(folder: Path):
    os.link(folder / "dog_0.jpg", os.fsencode(folder) + b"/dog_caf\xe9.jpg")
    found = opened(folder)
    assert len(found.names) == 10 and sum(map(len, found.split(20, 42))) == 10 and found.identity


def test_a_dangling_link_is_unreadable(folder: Path):
    (folder / "dog_gone.jpg").symlink_to(folder / "nowhere.jpg")
    with pytest.raises(UserError, match="1 of 10 images cannot be read: dog_gone.jpg"):
        opened(folder)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "grey", "palette", "CMYK", "alpha"])
def test_images_of_another_kind_under_a_jpg_name_are_read(folder: Path, kind: str):
    mode = {"grey": "L", "palette": "P", "CMYK": "CMYK", "alpha": "RGBA"}.get(kind, "RGB")
    form = {"palette": "GIF", "alpha": "PNG"}.get(kind, kind if kind.isupper() and kind != "CMYK" else "JPEG")
    Image.new("RGB", (40, 30), (200, 100, 50)).convert(mode).save(folder / "dog_kind.jpg", format=form)
    found = opened(folder)
    colour = reference(found, found.names.index("dog_kind.jpg")).mean((0, 1))
    grey = 0.299 * 200 + 0.587 * 100 + 0.114 * 50
    assert np.abs(colour - ([grey] * 3 if kind == "grey" else [200, 100, 50])).max() < 12


def test_unreadable_images_are_listed_at_once_and_can_be_left_out(folder: Path, cache: Path):
    whole = (folder / "dog_6.jpg").read_bytes()
    (folder / "dog_6.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "Cat_3.jpg").write_bytes(b"")
    (folder / "dog_text.jpg").write_text("hello")
    before = set(cache.rglob("*"))
    with pytest.raises(
        UserError, match=r"3 of 10 images cannot be read: Cat_3.jpg, dog_6.jpg, dog_text.jpg; .*--skip-unreadable"
    ):
        opened(folder)
    assert set(cache.rglob("*")) - before <= {cache / "stores"}, "nothing was made"
    found = opened(folder, skip_unreadable=True)
    assert len(found.names) == 7 and set(found.unreadable) == {"Cat_3.jpg", "dog_6.jpg", "dog_text.jpg"}
    with pytest.raises(UserError, match="cannot be read"):
        opened(folder)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 40), min_size=20, max_size=60), st.floats(5, 60), st.integers(0, 50))
def test_split_counts_are_exact_and_copies_stay_together(contents, percent, seed):
    n = len(contents)
    made = store.Store(
        Path(), 16, ("a", "b"), [f"n{i}" for i in range(n)], [0] * n, [str(c) for c in contents], [], [], {}
    )
    train, valid = made.split(percent, seed)
    assert sorted(train + valid) == list(range(n))
    assert not {contents[i] for i in train} & {contents[i] for i in valid}
    wanted, biggest = round(percent / 100 * n), max(Counter(contents).values())
    assert wanted - biggest < len(valid) <= wanted
    if biggest == 1:
        assert len(valid) == wanted


def test_the_split_depends_on_its_seed_alone(images: Path):
    found = store.open_store(pets.images(Data(dir=str(images))), 16)
    assert found.split(20, 42) == found.split(20, 42) != found.split(20, 43)
    assert [len(side) for side in found.split(20, 42)] == [48, 12]


def batches(folder: Path, seed: int = 0, size: int = 16) -> tuple[store.Store, Batches]:
    found = opened(folder, size)
    return found, Batches(found, [0, 1, 2, 3, 4, 5, 6], [7, 8], 3, seed, CPU)


def reference(found: store.Store, image: int) -> np.ndarray:
    areas = [w * h for w, h in zip(found.widths, found.heights, strict=True)]
    w, h = found.widths[image], found.heights[image]
    return np.fromfile(found.pixels, np.uint8, w * h * 3, offset=3 * sum(areas[:image])).reshape(h, w, 3)


def test_training_crops_are_windows_of_their_image_along_the_longer_side(folder: Path):
    found, made = batches(folder)
    seen: Counter[int] = Counter()
    for step in range(60):
        pictures, labels = made.training_batch(step)
        assert pictures.shape == (3, 3, 16, 16) and pictures.is_contiguous(memory_format=torch.channels_last)
        for picture, label in zip(pictures, labels, strict=True):
            crop = (picture * 255).round().byte().permute(1, 2, 0).numpy()
            windows = [
                (i, x, y)
                for i in range(7)
                for y in range(found.heights[i] - 15)
                for x in range(found.widths[i] - 15)
                if np.array_equal(reference(found, i)[y : y + 16, x : x + 16], crop)
            ]
            assert windows and int(label) == found.labels[windows[0][0]]
            seen[windows[0]] += 1
    assert len({x for i, x, _ in seen if i == found.names.index("Cat_3.jpg")}) > 10, "crops move along the longer side"
    assert {0, 48} & {x for i, x, _ in seen if i == found.names.index("Cat_3.jpg")} or len(seen) > 30


def test_an_epoch_shows_no_image_twice_and_drops_the_last_incomplete_batch(folder: Path):
    _, made = batches(folder)
    assert made.epoch_steps == 2
    for epoch in range(5):
        images, _ = made._draw(epoch, 0)
        assert sorted(images.tolist()) == [0, 1, 2, 3, 4, 5, 6]


def test_batches_are_a_function_of_seed_and_step_alone(folder: Path):
    (_, first), (_, second), (_, other) = batches(folder), batches(folder), batches(folder, seed=1)
    torch.manual_seed(123)
    forwards = [first.training_batch(step) for step in range(8)]
    torch.rand(5)
    backwards = [second.training_batch(step) for step in reversed(range(8))][::-1]
    for (a, b), (c, d) in zip(forwards, backwards, strict=True):
        assert torch.equal(a, c) and torch.equal(b, d)
    assert any(not torch.equal(first.training_batch(s)[0], other.training_batch(s)[0]) for s in range(8))
    assert not torch.equal(first.training_batch(0)[0], first.training_batch(2)[0]), "epochs differ"


def test_validation_crops_the_centre_of_every_image_once(folder: Path):
    found, made = batches(folder)
    for split, wanted in (("valid", [7, 8]), ("train", list(range(7)))):
        shown = list(made.center_crops(split, 3))
        pictures, labels = torch.cat([p for p, _ in shown]), torch.cat([n for _, n in shown])
        assert labels.tolist() == [found.labels[i] for i in wanted]
        for picture, i in zip(pictures, wanted, strict=True):
            image = reference(found, i)
            y, x = (round((side - 16) / 2 + 1e-9) for side in image.shape[:2])
            crop = (picture * 255).round().byte().permute(1, 2, 0).numpy()
            assert np.array_equal(crop, image[y : y + 16, x : x + 16])
    assert [len(labels) for _, labels in made.center_crops("train", 3)] == [3, 2, 2], (
        "no batch of one image for batch norm"
    )


def test_values_are_scaled_to_one(folder: Path):
    _, made = batches(folder)
    pictures, _ = made.training_batch(0)
    assert pictures.dtype == torch.float32 and pictures.min() >= 0 and 0.9 < pictures.max() <= 1


def test_drawn_images_are_the_same_each_time_and_in_the_ratio_of_pets(tmp_path: Path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        synthetic.draw(tmp_path / name, 40)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "b").iterdir()) and len(names) == 40
    assert sum(name[0].isupper() for name in names) == round(40 * 2400 / 7390)
    assert all((tmp_path / "a" / n).read_bytes() == (tmp_path / "b" / n).read_bytes() for n in names)


def test_the_embedded_set_takes_no_data_dir(tmp_path: Path):
    with pytest.raises(UserError, match="--data-dir goes with data.dataset: pets"):
        synthetic.images(Data(dataset="synthetic", dir=str(tmp_path)))


def build_once(root: str, count: object) -> None:
    """Open the store in a process of its own, counting builds."""
    build = store.build

    def counted(*arguments: object) -> store.Store:
        with count.get_lock():  # type: ignore[attr-defined]
            count.value += 1  # type: ignore[attr-defined]
        return build(*arguments)  # type: ignore[arg-type]

    store.build = counted  # type: ignore[assignment]
    store.open_store(pets.images(Data(dir=root)), 18)


def test_of_two_processes_that_want_one_store_one_builds_it(images: Path):
    context = multiprocessing.get_context("fork")
    count = context.Value("i", 0)
    workers = [context.Process(target=build_once, args=(str(images), count)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4 and count.value == 1
