"""Image folders as they come: odd shapes and names that are read, links, hostile files, and downloads cut short."""

from __future__ import annotations

import hashlib
import io
import os
import resource
import shutil
import tarfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import CIFAR10, OxfordIIITPet
from torchvision.datasets import utils as torchvision_utils

from lthrun.config.sections import Data
from lthrun.data import cifar, folder, pets, store
from lthrun.errors import UserError

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


def opened(root: Path, skip: bool = False) -> store.Store:
    return store.open_store(folder.images(Data(dataset="folder", dir=str(root))), 16, skip)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Two classes of four images each."""
    for name in ("cat", "dog"):
        for i in range(4):
            png(tmp_path / "own" / name / f"{i}.png", 20 + i)
    return tmp_path / "own"


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (5000, 5000), (1, 20_000), (16, 16)])
def test_any_shape_is_read(own: Path, size: tuple[int, int]):
    for suffix in (".png", ".jpg"):
        image = Image.new("RGB", size, (200, 100, 50))
        image.save(own / "cat" / f"odd{suffix}", quality=95)
    made = opened(own)
    for i in (made.names.index("cat/odd.png"), made.names.index("cat/odd.jpg")):
        assert min(made.heights[i], made.widths[i]) == 16 and max(made.heights[i], made.widths[i]) <= 64
        assert (made.heights[i] > made.widths[i], made.heights[i] < made.widths[i]) == (
            size[1] > size[0],
            size[1] < size[0],
        )


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_name_of_a_file_or_a_class_is_read(own: Path, name: str):
    png(own / "cat" / f"{name}.png")
    png(own / name / "a.png")
    png(own / name / "b.png")
    made = opened(own)
    assert f"cat/{name}.png" in made.names and name in made.classes
    train, valid = made.split(40, 1)
    assert sorted(train + valid) == list(range(11)) and opened(own) == made, "read again from the index"


def test_a_bomb_is_refused_at_once_and_without_its_memory(tmp_path: Path):
    for mode, side in (("1", 20_000), ("1", 9_000)):  # the second is one that Pillow would only warn of
        Image.new(mode, (side, side)).save(tmp_path / "bomb.png")
        before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
        assert "80,000,000" in str(store.decode(tmp_path / "bomb.png", 16))
        assert time.perf_counter() - start < 1
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "kB"


def test_no_program_is_started_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import subprocess

    for name in ("Popen", "run", "call", "check_call"):
        monkeypatch.setattr(subprocess, name, lambda *_, **__: pytest.fail("a program was started"))
    (tmp_path / "page.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    assert str(store.decode(tmp_path / "page.jpg", 16)).startswith("no image that is read")


def test_what_cannot_be_read_is_left_out_on_request(own: Path):
    bad = {"zero.jpg": b"", "text.jpg": b"hello", "two\nlines.png": b"?"}
    for name, content in bad.items():
        (own / "cat" / name).write_bytes(content)
    for name, target in {"device.jpg": "/dev/zero", "gone.jpg": "nowhere", "circle.jpg": "circle.jpg"}.items():
        (own / "dog" / name).symlink_to(target)
    os.mkfifo(own / "dog" / "pipe.jpg")
    with pytest.raises(UserError, match="7 of 15 images cannot be read: ") as error:
        opened(own)
    assert str(error.value).isprintable() and r"cat/two\nlines.png" in str(error.value)
    made = opened(own, skip=True)
    assert len(made.names) == 8 and len(made.unreadable) == 7


def test_a_class_of_which_nothing_can_be_read_is_refused(own: Path):
    for path in (own / "dog").iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match="no image of one class can be read: dog"):
        opened(own, skip=True)


def test_links_out_of_the_folder_are_followed_and_a_circle_comes_to_an_end(own: Path, tmp_path: Path):
    (own / "cat" / "far.png").symlink_to(png(tmp_path / "elsewhere" / "far.png", 33))
    (own / "fox").symlink_to(tmp_path / "elsewhere")
    (own / "cat" / "up").symlink_to(own)
    (own / "cat" / "here").symlink_to(".")
    (own / "circle").symlink_to("circle")
    assert opened(own).names == [
        *(f"cat/{i}.png" for i in range(4)),
        "cat/far.png",
        *(f"dog/{i}.png" for i in range(4)),
        "fox/far.png",
    ]


def test_names_neither_colour_nor_move_what_data_info_shows(own: Path, lthrun: Callable):
    for name in ("[red]fox", "own\x1b[2J\nX"):
        for i in range(4):
            png(own / name / f"[bold]{i}\x1b[31m.png", 20 + i)
        (own / name / "[dim]\x1b[31m\n.png").write_bytes(b"")
    shown = lthrun("data", "info", "--set", "data.dataset=folder", "--data-dir", own)
    assert shown.status == 0 and "\x1b" not in shown.out
    for words in (" [red]fox ", r" own\x1b[2J\nX ", r"  [red]fox/[dim]\x1b[31m\n.png: no image that is read"):
        assert words in shown.out


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_named(own: Path):
    (own / "cat" / "0.png").chmod(0)
    with pytest.raises(UserError, match="1 of 8 images cannot be read: cat/0.png; the first: PermissionError"):
        opened(own)
    (own / "dog").chmod(0)
    with pytest.raises(UserError, match="dog cannot be read: Permission denied"):
        opened(own)
    (own / "dog").chmod(0o700)


class Internet:
    """Serves archives to torchvision, without a network; `cut` sends that many bytes of each and breaks off."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.files: dict[str, bytes] = {}
        self.shorten: int | None = None
        self.asked: list[str] = []
        monkeypatch.setattr(torchvision_utils, "_get_redirect_url", lambda url, max_hops=3: url)
        monkeypatch.setattr(torchvision_utils, "_urlretrieve", self.fetch)
        monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: pytest.fail("went to the network"))

    def fetch(self, url: str, filename: str, chunk_size: int = 0) -> None:
        self.asked.append(url)
        Path(filename).write_bytes(self.files[url][: self.shorten])

    def offer(self, name: str, members: dict[str, bytes]) -> tuple[str, str]:
        """An archive of these files; its URL and MD5 sum."""
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w:gz") as archive:
            for path, data in members.items():
                member = tarfile.TarInfo(path)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        url = f"http://nowhere.invalid/{name}"
        self.files[url] = content.getvalue()
        return url, hashlib.md5(self.files[url]).hexdigest()


@pytest.fixture
def internet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Internet:
    monkeypatch.setenv("LTHRUN_CACHE", str(tmp_path / "cache"))
    return Internet(monkeypatch)


@pytest.fixture
def offered(internet: Internet, monkeypatch: pytest.MonkeyPatch, images: Path) -> Internet:
    """Pets, of 60 images."""
    pictures = {f"images/{p.name}": p.read_bytes() for p in (images / "images").iterdir()}
    lists = {f"annotations/{name}.txt": b"Abyssinian_1 1 1 1\nbeagle_1 2 2 1\n" for name in ("trainval", "test")}
    resources = (internet.offer("images.tar.gz", pictures), internet.offer("annotations.tar.gz", lists))
    monkeypatch.setattr(OxfordIIITPet, "_RESOURCES", resources)
    return internet


def test_a_download_that_was_cut_short_starts_over(offered: Internet):
    offered.shorten = 1000
    with pytest.raises(UserError, match="the download of Oxford-IIIT Pet failed .*corrupted.*; try again"):
        pets.download()
    with pytest.raises(UserError, match="is not on this machine"):
        pets.images(Data())
    offered.shorten = None
    pets.download()
    assert len(pets.images(Data()).paths) == 60
    asked = len(offered.asked)
    pets.download()
    assert len(offered.asked) == asked, "a second time, nothing is fetched"


def test_a_download_that_was_cut_short_while_it_was_unpacked_is_unpacked_again(offered: Internet):
    pets.download()
    (pets.home() / "complete").unlink()
    shutil.rmtree(pets.home() / "oxford-iiit-pet" / "annotations")
    (pets.home() / "oxford-iiit-pet" / "annotations").mkdir()
    victim = sorted((pets.home() / "oxford-iiit-pet" / "images").iterdir())[0]
    whole = victim.read_bytes()
    victim.write_bytes(whole[:100])
    asked = len(offered.asked)
    pets.download()
    assert victim.read_bytes() == whole and len(offered.asked) == asked, "the archives were whole"


@pytest.mark.parametrize("path", ["../../escaped", "/tmp/lthrun-escaped", "images/../../../../escaped"])
def test_no_member_of_an_archive_leaves_its_folder(internet: Internet, monkeypatch, tmp_path: Path, path: str):
    monkeypatch.setattr(OxfordIIITPet, "_RESOURCES", (internet.offer("images.tar.gz", {path: b"!"}),))
    with pytest.raises(UserError, match="the download of Oxford-IIIT Pet failed"):
        pets.download()
    assert not Path("/tmp/lthrun-escaped").exists() and not list(tmp_path.glob("**/escaped"))
    url, md5 = internet.offer("cifar-10-python.tar.gz", {path: b"!"})
    for name, value in (("url", url), ("tgz_md5", md5)):
        monkeypatch.setattr(CIFAR10, name, value)
    with pytest.raises(UserError, match="the download of CIFAR-10 failed"):
        cifar.download()
    assert not Path("/tmp/lthrun-escaped").exists() and not list(tmp_path.glob("**/escaped"))


def test_what_is_no_archive_is_refused(internet: Internet, monkeypatch: pytest.MonkeyPatch):
    url = "http://nowhere.invalid/images.tar.gz"
    for content in (b"<html>not found</html>", b"", np.random.default_rng(0).bytes(2000), b"\x1f\x8b" + bytes(50)):
        internet.files[url] = content
        monkeypatch.setattr(OxfordIIITPet, "_RESOURCES", ((url, hashlib.md5(content).hexdigest()),))
        with pytest.raises(UserError, match="the download of Oxford-IIIT Pet failed"):
            pets.download()
