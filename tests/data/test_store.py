"""Which images of Pets there are, and how the store keeps them."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lthrun.config.sections import Data
from lthrun.data import pets, store
from lthrun.errors import MissingData, UserError
from tests.data.samples import open_pets, save_noise, stored_pixels


def test_both_layouts_are_read_and_labeled_by_case(images: Path, tmp_path: Path):
    listed = pets.list_pets(Data(dir=str(images)))
    assert len(listed.paths) == 60 and listed.classes == ("cat", "dog")
    assert all((label == 0) == path.name[0].isupper() for path, label in zip(listed.paths, listed.labels, strict=True))
    (tmp_path / "oxford-iiit-pet").mkdir()
    (tmp_path / "oxford-iiit-pet" / "images").symlink_to(images / "images")
    assert [p.name for p in pets.list_pets(Data(dir=str(tmp_path))).paths] == [p.name for p in listed.paths]


def test_other_files_are_skipped(pets_folder: Path):
    for name in ("Abyssinian_100.mat", "._beagle_1.jpg", "notes.txt", ".DS_Store"):
        (pets_folder / name).write_bytes(b"\0\1\2")
    assert len(pets.list_pets(Data(dir=str(pets_folder.parent))).paths) == 9


def test_folders_that_are_missing_empty_or_of_one_class_are_refused(tmp_path: Path):
    with pytest.raises(UserError, match="found neither .*images nor .*oxford-iiit-pet/images"):
        pets.list_pets(Data(dir=str(tmp_path / "nowhere")))
    (tmp_path / "images").mkdir()
    with pytest.raises(UserError, match="holds no images"):
        pets.list_pets(Data(dir=str(tmp_path)))
    save_noise(tmp_path / "images" / "Cat_1.jpg", 20, 20)
    with pytest.raises(UserError, match="all 1 images are of one class, cat"):
        pets.list_pets(Data(dir=str(tmp_path)))
    with pytest.raises(MissingData, match="lthrun data prepare"):
        pets.list_pets(Data())


def test_each_image_keeps_its_aspect_up_to_four_to_one(pets_folder: Path):
    opened = open_pets(pets_folder)
    sides = {name: (w, h) for name, w, h in zip(opened.names, opened.widths, opened.heights, strict=True)}
    assert sides["dog_0.jpg"] == (21, 16) and sides["Cat_1.jpg"] == (16, 21) and sides["dog_2.jpg"] == (16, 16)
    assert sides["Cat_3.jpg"] == (64, 16) and sides["dog_4.jpg"] == (16, 64), "200:30 is more than 4:1"
    assert sides["Cat_5.jpg"] == (16, 48)
    assert opened.pixels.stat().st_size == 3 * sum(w * h for w, h in sides.values())


def test_pixels_are_those_of_a_plain_resize(pets_folder: Path):
    # A smooth JPEG, four times too large: the decoder's own shrinking may differ a little. A PNG may not.
    y, x = np.mgrid[0:120, 0:160]
    smooth = np.stack([x, 2 * y, 255 - x], 2).astype(np.uint8)
    Image.fromarray(smooth).save(pets_folder / "dog_smooth.jpg", quality=95)
    opened = open_pets(pets_folder)
    for name, tolerance in (("Cat_png.jpg", 0), ("dog_smooth.jpg", 6)):
        pixels = stored_pixels(opened, opened.names.index(name))
        with Image.open(pets_folder / name) as image:
            plain = image.convert("RGB").resize(pixels.shape[1::-1], Image.Resampling.BILINEAR)
        assert np.abs(pixels.astype(int) - np.asarray(plain)).max() <= tolerance


def test_an_existing_store_is_not_decoded_again(pets_folder: Path, monkeypatch: pytest.MonkeyPatch):
    first = open_pets(pets_folder)
    monkeypatch.setattr(store, "decode", lambda *_: pytest.fail("decoded again"))
    assert open_pets(pets_folder) == first


@pytest.mark.parametrize("change", ["file", "size", "version"])
def test_the_store_is_rebuilt_when_files_size_or_version_change(pets_folder: Path, change: str, monkeypatch):
    first, size = open_pets(pets_folder).identity, 16
    if change == "file":
        save_noise(pets_folder / "dog_0.jpg", 44, 30, 77)
    elif change == "size":
        size = 20
    else:
        monkeypatch.setattr(store, "VERSION", store.VERSION + 1)
    again = open_pets(pets_folder, size)
    assert again.identity != first
    assert len(list(again.pixels.parent.glob("pixels-*"))) == 1, "one store is kept per folder and size"


def test_identity_depends_on_contents_not_on_the_folder(pets_folder: Path, tmp_path: Path):
    shutil.copytree(pets_folder, tmp_path / "moved" / "images")
    assert open_pets(tmp_path / "moved" / "images").identity == open_pets(pets_folder).identity


def test_names_need_not_be_utf8(pets_folder: Path):
    os.link(pets_folder / "dog_0.jpg", os.fsencode(pets_folder) + b"/dog_caf\xe9.jpg")
    opened = open_pets(pets_folder)
    assert len(opened.names) == 10 and sum(map(len, opened.split(Data()))) == 10 and opened.identity


def test_a_dangling_link_is_unreadable(pets_folder: Path):
    (pets_folder / "dog_gone.jpg").symlink_to(pets_folder / "nowhere.jpg")
    with pytest.raises(UserError, match="1 of 10 images cannot be read: dog_gone.jpg"):
        open_pets(pets_folder)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "gray", "palette", "CMYK", "alpha"])
def test_images_of_another_format_under_a_jpg_name_are_read(pets_folder: Path, kind: str):
    mode = {"gray": "L", "palette": "P", "CMYK": "CMYK", "alpha": "RGBA"}.get(kind, "RGB")
    form = {"palette": "GIF", "alpha": "PNG"}.get(kind, kind if kind.isupper() and kind != "CMYK" else "JPEG")
    Image.new("RGB", (40, 30), (200, 100, 50)).convert(mode).save(pets_folder / "dog_kind.jpg", format=form)
    opened = open_pets(pets_folder)
    color = stored_pixels(opened, opened.names.index("dog_kind.jpg")).mean((0, 1))
    gray = 0.299 * 200 + 0.587 * 100 + 0.114 * 50
    assert np.abs(color - ([gray] * 3 if kind == "gray" else [200, 100, 50])).max() < 12


def test_unreadable_images_are_all_listed_and_can_be_skipped(pets_folder: Path, cache: Path):
    whole = (pets_folder / "dog_6.jpg").read_bytes()
    (pets_folder / "dog_6.jpg").write_bytes(whole[: len(whole) // 2])
    (pets_folder / "Cat_3.jpg").write_bytes(b"")
    (pets_folder / "dog_text.jpg").write_text("hello")
    before = set(cache.rglob("*"))
    with pytest.raises(
        UserError, match=r"3 of 10 images cannot be read: Cat_3.jpg, dog_6.jpg, dog_text.jpg; .*--skip-unreadable"
    ):
        open_pets(pets_folder)
    assert set(cache.rglob("*")) - before <= {cache / "stores"}, "nothing was written"
    opened = open_pets(pets_folder, skip_unreadable=True)
    assert len(opened.names) == 7 and set(opened.unreadable) == {"Cat_3.jpg", "dog_6.jpg", "dog_text.jpg"}
    with pytest.raises(UserError, match="cannot be read"):
        open_pets(pets_folder)


def build_once(root: str, count: object) -> None:
    """Open the store in a process of its own, counting builds."""
    build = store.build_store

    def counted(*arguments: object) -> store.Store:
        with count.get_lock():  # type: ignore[attr-defined]
            count.value += 1  # type: ignore[attr-defined]
        return build(*arguments)  # type: ignore[arg-type]

    store.build_store = counted  # type: ignore[assignment]
    store.open_store(pets.list_pets(Data(dir=root)), 18)


def test_one_of_several_processes_builds_the_store(images: Path):
    context = multiprocessing.get_context("fork")
    count = context.Value("i", 0)
    workers = [context.Process(target=build_once, args=(str(images), count)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4 and count.value == 1
