"""Image folders as they come: odd shapes and names, links, and files that cannot be read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from lthrun.config.sections import Data
from lthrun.errors import UserError
from tests.data.samples import open_folder

ODD_NAMES = [
    "with space",
    "größe 猫",
    "two\nlines",
    "bell \x1b[2J",
    "caf\udce9",
    "-rf",
    "*",
    "'; drop",
    "x" * 250,
    "日本 ",
]


def png(path: Path, width: int = 20, height: int = 20) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (width % 256, height % 256, len(path.name) % 256)).save(path, format="PNG")
    return path


@pytest.fixture
def two_classes(tmp_path: Path) -> Path:
    """Two classes of four images each."""
    for name in ("cat", "dog"):
        for i in range(4):
            png(tmp_path / "classes" / name / f"{i}.png", 20 + i)
    return tmp_path / "classes"


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (5000, 5000), (1, 20_000), (16, 16)])
def test_any_shape_is_read(two_classes: Path, size: tuple[int, int]):
    for suffix in (".png", ".jpg"):
        image = Image.new("RGB", size, (200, 100, 50))
        image.save(two_classes / "cat" / f"odd{suffix}", quality=95)
    store = open_folder(two_classes)
    for i in (store.names.index("cat/odd.png"), store.names.index("cat/odd.jpg")):
        assert min(store.heights[i], store.widths[i]) == 16 and max(store.heights[i], store.widths[i]) <= 64
        assert (store.heights[i] > store.widths[i], store.heights[i] < store.widths[i]) == (
            size[1] > size[0],
            size[1] < size[0],
        )


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_name_of_a_file_or_a_class_is_read(two_classes: Path, name: str):
    png(two_classes / "cat" / f"{name}.png")
    png(two_classes / name / "a.png")
    png(two_classes / name / "b.png")
    store = open_folder(two_classes)
    assert f"cat/{name}.png" in store.names and name in store.classes
    train, valid, _ = store.split(Data(validation=40.0))
    assert sorted(train + valid) == list(range(11)) and open_folder(two_classes) == store, "read back from the index"


def test_unreadable_files_are_skipped_on_request(two_classes: Path):
    bad = {"zero.jpg": b"", "text.jpg": b"hello", "two\nlines.png": b"?"}
    for name, content in bad.items():
        (two_classes / "cat" / name).write_bytes(content)
    for name, target in {"device.jpg": "/dev/zero", "gone.jpg": "nowhere", "circle.jpg": "circle.jpg"}.items():
        (two_classes / "dog" / name).symlink_to(target)
    os.mkfifo(two_classes / "dog" / "pipe.jpg")
    with pytest.raises(UserError, match="7 of 15 images cannot be read: ") as error:
        open_folder(two_classes)
    assert str(error.value).isprintable() and r"cat/two\nlines.png" in str(error.value)
    store = open_folder(two_classes, skip_unreadable=True)
    assert len(store.names) == 8 and len(store.unreadable) == 7


def test_a_class_without_a_readable_image_is_refused(two_classes: Path):
    for path in (two_classes / "dog").iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match="no image of one class can be read: dog"):
        open_folder(two_classes, skip_unreadable=True)


def test_links_out_of_the_folder_are_followed_and_circular_links_end(two_classes: Path, tmp_path: Path):
    (two_classes / "cat" / "far.png").symlink_to(png(tmp_path / "outside" / "far.png", 33))
    (two_classes / "fox").symlink_to(tmp_path / "outside")
    (two_classes / "cat" / "up").symlink_to(two_classes)
    (two_classes / "cat" / "here").symlink_to(".")
    (two_classes / "circle").symlink_to("circle")
    assert open_folder(two_classes).names == [
        *(f"cat/{i}.png" for i in range(4)),
        "cat/far.png",
        *(f"dog/{i}.png" for i in range(4)),
        "fox/far.png",
    ]


def test_names_are_escaped_in_data_info(two_classes: Path, lthrun: Callable):
    for name in ("[red]fox", "own\x1b[2J\nX"):
        for i in range(4):
            png(two_classes / name / f"[bold]{i}\x1b[31m.png", 20 + i)
        (two_classes / name / "[dim]\x1b[31m\n.png").write_bytes(b"")
    shown = lthrun("data", "info", "--set", "data.dataset=folder", "--data-dir", two_classes)
    assert shown.status == 0 and "\x1b" not in shown.out
    for words in ("[red]fox ", r"own\x1b[2J\nX ", r"  [red]fox/[dim]\x1b[31m\n.png: not an image in a format"):
        assert words in shown.out


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_without_permission_are_named(two_classes: Path):
    (two_classes / "cat" / "0.png").chmod(0)
    with pytest.raises(UserError, match="1 of 8 images cannot be read: cat/0.png; the first: PermissionError"):
        open_folder(two_classes)
    (two_classes / "dog").chmod(0)
    with pytest.raises(UserError, match="dog cannot be read: Permission denied"):
        open_folder(two_classes)
    (two_classes / "dog").chmod(0o700)
