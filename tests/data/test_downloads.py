"""Downloads that are interrupted, damaged or hostile."""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import CIFAR10, OxfordIIITPet
from torchvision.datasets import utils as torchvision_utils

from lthrun.config.sections import Data
from lthrun.data import pets
from lthrun.data.torchvision_sets import CIFAR10 as CIFAR
from lthrun.errors import UserError


class FakeInternet:
    """Serves archives to torchvision, without a network; `shorten` is how many bytes of each are sent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.files: dict[str, bytes] = {}
        self.shorten: int | None = None
        self.requested: list[str] = []
        monkeypatch.setattr(torchvision_utils, "_get_redirect_url", lambda url, max_hops=3: url)
        monkeypatch.setattr(torchvision_utils, "_urlretrieve", self.fetch)
        monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: pytest.fail("used the network"))

    def fetch(self, url: str, filename: str, chunk_size: int = 0) -> None:
        self.requested.append(url)
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
def internet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeInternet:
    monkeypatch.setenv("LTHRUN_CACHE", str(tmp_path / "cache"))
    return FakeInternet(monkeypatch)


@pytest.fixture
def offered(internet: FakeInternet, monkeypatch: pytest.MonkeyPatch, images: Path) -> FakeInternet:
    """Pets, of 60 images."""
    pictures = {f"images/{p.name}": p.read_bytes() for p in (images / "images").iterdir()}
    lists = {f"annotations/{name}.txt": b"Abyssinian_1 1 1 1\nbeagle_1 2 2 1\n" for name in ("trainval", "test")}
    resources = (internet.offer("images.tar.gz", pictures), internet.offer("annotations.tar.gz", lists))
    monkeypatch.setattr(OxfordIIITPet, "_RESOURCES", resources)
    return internet


def test_an_interrupted_download_starts_over(offered: FakeInternet):
    offered.shorten = 1000
    with pytest.raises(UserError, match="the download of Oxford-IIIT Pet failed .*corrupted.*; try again"):
        pets.download()
    with pytest.raises(UserError, match="is not on this machine"):
        pets.list_pets(Data())
    offered.shorten = None
    pets.download()
    assert len(pets.list_pets(Data()).paths) == 60
    requested = len(offered.requested)
    pets.download()
    assert len(offered.requested) == requested, "the second call fetches nothing"


def test_an_interrupted_unpacking_is_repeated(offered: FakeInternet):
    pets.download()
    (pets.home() / "complete").unlink()
    shutil.rmtree(pets.home() / "oxford-iiit-pet" / "annotations")
    (pets.home() / "oxford-iiit-pet" / "annotations").mkdir()
    victim = sorted((pets.home() / "oxford-iiit-pet" / "images").iterdir())[0]
    intact = victim.read_bytes()
    victim.write_bytes(intact[:100])
    requested = len(offered.requested)
    pets.download()
    assert victim.read_bytes() == intact and len(offered.requested) == requested, "the archives were complete"


@pytest.mark.parametrize("path", ["../../escaped", "/tmp/lthrun-escaped", "images/../../../../escaped"])
def test_no_member_of_an_archive_leaves_its_folder(internet: FakeInternet, monkeypatch, tmp_path: Path, path: str):
    monkeypatch.setattr(OxfordIIITPet, "_RESOURCES", (internet.offer("images.tar.gz", {path: b"!"}),))
    with pytest.raises(UserError, match="the download of Oxford-IIIT Pet failed"):
        pets.download()
    assert not Path("/tmp/lthrun-escaped").exists() and not list(tmp_path.glob("**/escaped"))
    url, md5 = internet.offer("cifar-10-python.tar.gz", {path: b"!"})
    for name, value in (("url", url), ("tgz_md5", md5)):
        monkeypatch.setattr(CIFAR10, name, value)
    with pytest.raises(UserError, match="the download of CIFAR-10 failed"):
        CIFAR.download()
    assert not Path("/tmp/lthrun-escaped").exists() and not list(tmp_path.glob("**/escaped"))


def test_a_file_that_is_no_archive_is_refused(internet: FakeInternet, monkeypatch: pytest.MonkeyPatch):
    url = "http://nowhere.invalid/images.tar.gz"
    for content in (b"<html>not found</html>", b"", np.random.default_rng(0).bytes(2000), b"\x1f\x8b" + bytes(50)):
        internet.files[url] = content
        monkeypatch.setattr(OxfordIIITPet, "_RESOURCES", ((url, hashlib.md5(content).hexdigest()),))
        with pytest.raises(UserError, match="the download of Oxford-IIIT Pet failed"):
            pets.download()
