"""Bad images and data folders: one line that names the file or folder, status 2, no file created or changed.

One table. `@name` in an argument is a folder that `place` makes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.cli.refusals import check_refusal, fill_in
from tests.conftest import SMALL_SETS

CASES: dict[str, tuple[list[str], str]] = {}
# Each adds one bad file to a folder of twelve images; it is named.
UNREADABLE = {
    "bomb.jpg": "more than 80,000,000 pixels",
    "zero.jpg": "not an image in a format that is read: JPEG",
    "text.jpg": "not an image in a format",
    "script.jpg": "not an image in a format",
    "page.jpg": "not an image in a format",
    "cut.jpg": "OSError: ",
    "cut.png": "OSError: ",
    "pipe.jpg": "not a file",
    "device.jpg": "not a file",
    "gone.jpg": "No such file or directory",
    "circle.jpg": "Too many levels of symbolic links",
    "sparse.jpg": "found 1,000,000,000,000 bytes; must be at most 500,000,000",
    "two\nlines.jpg": "not an image in a format",
    "bell \x1b[2J.jpg": "not an image in a format",
    "caf\udce9.jpg": "not an image in a format",
    "größe 猫.jpg": "not an image in a format",
}
for number, (name, why) in enumerate(UNREADABLE.items()):
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)
    said = f"1 of 13 images cannot be read: {shown}; the first: "
    CASES[f"image: {shown}"] = (["baseline", "--data-dir", f"@bad {number}", *SMALL_SETS], said + "|" + why)
    CASES[f"image of a class: {shown}"] = (
        ["baseline", "--set", "data.dataset=folder", "--data-dir", f"@bad classes {number}", *SMALL_SETS],
        f"1 of 13 images cannot be read: cat/{shown}; the first: |{why}",
    )


def folder(*arguments: str) -> list[str]:
    return ["baseline", "--set", "data.dataset=folder", *SMALL_SETS, *arguments]


PETS = ["baseline", *SMALL_SETS, "--data-dir"]
FOLDERS: dict[str, tuple[list[str], str]] = {
    "missing": ([*PETS, "nowhere"], "--data-dir nowhere: found neither nowhere/images nor"),
    "a file": ([*PETS, "@file"], "file: found neither"),
    "empty name": ([*PETS, ""], "data.dir: found ''; must not be empty"),
    "nobody's home": ([*PETS, "~nobody_of_that_name"], "data.dir: found ~nobody_of_that_name; Could not determine"),
    "long name": ([*PETS, "x" * 300], "cannot be read: File name too long"),
    "no images": ([*PETS, "@no images"], "holds no images"),
    "cats only": ([*PETS, "@cats"], "all 6 images are of one class, cat"),
    "one dog": ([*PETS, "@one dog"], "data.validation: found 20; there is no dog among the"),
    "nothing to validate on": ([*PETS, "@twelve", "--set", "data.validation=1"], "data.validation: found 1; there is no"),
    "nothing to train on": ([*PETS, "@twelve", "--set", "data.validation=99"], "data.validation: found 99; there is no"),
    "fewer than a batch": ([*PETS, "@twelve", "--set", "training.batch_size=64"], "training.batch_size: found 64; must be at most the 10"),
    "classes: none given": (folder(), "data.dir: found null"),
    "classes: missing": (folder("--data-dir", "nowhere"), "nowhere cannot be read: No such file or directory"),
    "classes: a file": (folder("--data-dir", "@file"), "file cannot be read: is a file"),
    "classes: a circle": (folder("--data-dir", "@circle"), "circle cannot be read: No such file or directory"),
    "classes: a NUL": (folder("--set", 'data.dir="a\\0b"'), r"a\x00b cannot be read: No such file or directory"),
    "classes: long": (folder("--data-dir", "x" * 300), "File name too long"),
    "classes: one": (folder("--data-dir", "@one class"), "data.dir: found one folder only, cat,"),
    "classes: empty": (folder("--data-dir", "@empty class"), "data.dir: found no images (JPEG, PNG"),
    "classes: no folders": (folder("--data-dir", "@twelve/images"), "data.dir: found no folders in"),
    "no CIFAR-10": (["baseline", "--set", "data.dataset=cifar10", "--data-dir", "@twelve"], "found neither"),
    "half of CIFAR-10": (["baseline", "--set", "data.dataset=cifar10", "--data-dir", "@cifar"], "is not a complete copy of CIFAR-10"),
    "drawn, with a folder": (["baseline", "--config", "smoke/baseline", "--data-dir", "@twelve"], "--data-dir goes with data.dataset: pets"),
}  # fmt: skip
CASES |= {f"data: {name}": case for name, case in FOLDERS.items()}


def make_bad(place: Path, name: str, image: bytes) -> None:
    path = place / name
    if name == "bomb.jpg":
        Image.new("1", (20_000, 20_000)).save(path, format="PNG")
    elif name == "cut.png":
        Image.effect_noise((60, 60), 50).save(path)
        path.write_bytes(path.read_bytes()[:1000])
    elif name == "pipe.jpg":
        os.mkfifo(path)
    elif name in ("device.jpg", "gone.jpg", "circle.jpg"):
        path.symlink_to({"device.jpg": "/dev/zero", "gone.jpg": "nowhere", "circle.jpg": "circle.jpg"}[name])
    elif name == "sparse.jpg":
        with path.open("wb") as file:
            file.truncate(10**12)
    else:
        starts = {
            "zero.jpg": b"",
            "cut.jpg": image[:400],
            "page.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        }
        path.write_bytes(starts.get(name, b"<script>alert(1)</script>"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Path:
    """All files and folders that the table names."""
    root = tmp_path_factory.mktemp("bad")
    (root / "file").touch()
    (root / "circle").symlink_to("circle")
    drawn = sorted((images / "images").iterdir())
    cats, dogs = ([p for p in drawn if p.name[0].isupper() == cat][:6] for cat in (True, False))

    def put(folder: Path, paths: list[Path]) -> Path:
        folder.mkdir(parents=True)
        for path in paths:
            os.link(path, folder / path.name)
        return folder

    put(root / "twelve" / "images", cats + dogs)
    put(root / "cats" / "images", cats)
    put(root / "one dog" / "images", cats + dogs[:1])
    put(root / "no images" / "images", [])
    put(root / "one class" / "cat", cats)
    put(root / "empty class" / "cat", cats)
    put(root / "empty class" / "dog", [])
    (root / "cifar" / "cifar-10-batches-py").mkdir(parents=True)
    for number, name in enumerate(UNREADABLE):
        make_bad(put(root / f"bad {number}" / "images", cats + dogs), name, cats[0].read_bytes())
        make_bad(put(root / f"bad classes {number}" / "cat", cats), name, cats[0].read_bytes())
        put(root / f"bad classes {number}" / "dog", dogs)
    return root


def seen(*folders: Path) -> dict[str, tuple[int, int]]:
    """What lies there, and when it was changed; locks come and go."""
    found = {str(p): p.lstat() for folder in folders for p in folder.rglob("*") if not p.is_dir() and p.suffix}
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in found.items() if not name.endswith(".lock")}


@pytest.mark.parametrize("case", CASES)
def test_bad_data(case: str, lthrun: Callable[..., Any], place: Path, tmp_path: Path, cache: Path):
    shutil.rmtree(cache / "stores", ignore_errors=True)
    before = seen(place, cache)
    arguments, message = CASES[case]
    check_refusal(lthrun(*fill_in(arguments, place)), message)
    assert not list(tmp_path.iterdir())
    after = seen(place, cache)
    assert {name: facts for name, facts in after.items() if "/stores/" not in name} == before
