"""Which files are images, and what is skipped and counted; and near-duplicates across the split."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lthrun.config.sections import Data
from lthrun.data import Images, folder
from lthrun.data.near_duplicates import find_near_duplicates
from tests.data.samples import open_folder, save_noise


def listed(root: Path) -> Images:
    return folder.list_folder(Data(dataset="folder", dir=str(root)))


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".JPG", "", ".dat", ".jpg_large", ".txt"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF"])
def test_images_are_read_whatever_their_suffix(class_folders: Path, suffix: str, kind: str):
    before = listed(class_folders)
    save_noise(class_folders / "apple" / f"odd{suffix}", 18, 18, 99, format=kind)
    images = listed(class_folders)
    assert len(images.paths) == len(before.paths) + 1 and images.skipped == before.skipped
    assert f"apple/odd{suffix}" in open_folder(class_folders).names


def test_other_files_are_skipped_and_counted_by_reason(class_folders: Path):
    apple = class_folders / "apple"
    others = ("notes.txt", "labels.csv", "other.csv", "README", "Thumbs.db", "desktop.ini", ".DS_Store", "deep/._0.png")
    for name in others:
        (apple / name).write_bytes(b"BM text that only looks like a bitmap")
    for place in ("@eaDir/0.png", "Thumbs", "__MACOSX", ".thumbnails"):
        (apple / place).mkdir(parents=True)
        shutil.copy(apple / "0.png", apple / place / "copy.jpg")
    (class_folders / "__MACOSX" / "apple").mkdir(parents=True)
    (class_folders / "__MACOSX" / "apple" / "._0.png").write_bytes(b"?")
    shutil.copy(apple / "0.png", class_folders / "outside.png")
    (apple / "link").symlink_to(class_folders / "banana")
    images = listed(class_folders)
    assert images.classes == ("apple", "banana", "cherry") and len(images.paths) == 30
    assert images.skipped == {
        "not an image (.txt)": 1,
        "not an image (.csv)": 2,
        "not an image (no suffix)": 1,
        "thumbnails and system files (Thumbs.db)": 1,
        "thumbnails and system files (desktop.ini)": 1,
        "thumbnails and system files (@eaDir)": 1,
        "thumbnails and system files (Thumbs)": 1,
        "thumbnails and system files (__MACOSX)": 2,
        "hidden": 3,
        "outside the class folders": 1,
        "links to folders": 1,
    }


def test_a_class_may_be_called_thumbs(class_folders: Path):
    (class_folders / "apple").rename(class_folders / "thumbs")
    assert listed(class_folders).classes == ("banana", "cherry", "thumbs")


def test_a_file_with_the_suffix_of_an_image_is_unreadable_rather_than_skipped(class_folders: Path):
    (class_folders / "apple" / "broken.jfif").write_text("no image")
    store = open_folder(class_folders, skip_unreadable=True)
    assert set(store.unreadable) == {"apple/broken.jfif"} and not store.skipped


def test_data_info_shows_what_was_skipped(lthrun: Callable, class_folders: Path):
    (class_folders / "apple" / "@eaDir").mkdir()
    shutil.copy(class_folders / "apple" / "0.png", class_folders / "apple" / "@eaDir" / "SYNOPHOTO_THUMB_M.jpg")
    (class_folders / "apple" / "notes.txt").write_text("?")
    chosen = ["--set", "data.dataset=folder", "--data-dir", class_folders]
    shown = lthrun("data", "info", *chosen).out
    assert "skipped: 1 file, thumbnails and system files (@eaDir)" in shown
    assert "skipped: 1 file, not an image (.txt)" in shown
    assert json.loads(lthrun("data", "info", *chosen, "--json").out)["skipped"] == {
        "thumbnails and system files (@eaDir)": 1,
        "not an image (.txt)": 1,
    }


def smooth(seed: int) -> Image.Image:
    """A picture with structure, unlike any other."""
    cells = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(cells).resize((120, 120), Image.Resampling.BICUBIC)


def test_near_duplicates_are_named_and_different_images_are_not(tmp_path: Path, lthrun: Callable):
    for c, name in enumerate(("cat", "dog")):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(20):
            smooth(100 * c + i).save(tmp_path / "set" / name / f"{i}.png")
    copies = {}
    for i in range(4):  # saved again, smaller, brighter
        content = io.BytesIO()
        smooth(i).resize((60 + 10 * i, 60 + 10 * i)).point(lambda v: v * 0.9 + 10).save(content, "JPEG", quality=60)
        copies[f"cat/{i}.png"] = f"cat/copy_{i}.jpg"
        (tmp_path / "set" / "cat" / f"copy_{i}.jpg").write_bytes(content.getvalue())
    store = open_folder(tmp_path / "set", 32)
    one = [store.names.index(name) for name in copies]
    other = [i for i in range(len(store.names)) if i not in one]
    assert find_near_duplicates(store, (one, other)) == sorted(copies.items())
    assert find_near_duplicates(store, (one + other, [])) == [], "copies on one side are none across the split"
    chosen = ["--set", "data.dataset=folder", "--data-dir", tmp_path / "set", "--set", "data.validation=50"]
    shown = lthrun("data", "info", *chosen).out
    assert "nearly the same on two sides of the split" in shown and "copy_" in shown
