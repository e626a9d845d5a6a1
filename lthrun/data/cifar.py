"""CIFAR-10 (Krizhevsky 2009) through torchvision, with its standard split.

torchvision keeps the images in pickled files, and reads one only after its MD5 checksum was verified. They are
written once as PNG files into the cache; from there on CIFAR-10 is a folder like any other.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from lthrun.data.datasets import DATASETS, Download, Images, expand_dir, is_folder, safe_download
from lthrun.data.folder import label_by_folder
from lthrun.errors import MissingData, UserError
from lthrun.storage.files import cache_dir
from lthrun.storage.locks import atomic_folder, lock

if TYPE_CHECKING:
    from lthrun.config.sections import Data

VERSION = 1  # raised when names or pixels would change: the files are then written again
LAYOUT = "cifar-10-batches-py"
REMEDY = (
    "download it (170 MB) with `lthrun data prepare --set data.dataset=cifar10`, or name a copy with --data-dir DIR"
)


def download() -> None:
    """Download the set into the cache with torchvision, which verifies checksums and shows progress.

    Raises:
        UserError: the download failed; the next call starts over.
    """
    from torchvision.datasets import CIFAR10

    with lock(home() / ".lock"), safe_download("CIFAR-10"):
        CIFAR10(str(home()), download=True)


@DATASETS.register(
    "CIFAR-10: 60,000 images of 32 px in 10 classes, 10,000 of them its own validation set (Krizhevsky 2009).",
    "cifar10",
    download=Download("CIFAR-10", "170 MB", download),
)
def list_cifar10(settings: Data) -> Images:
    """The images of the copy under `settings.dir`, or of the downloaded one.

    The standard test set is held out, so `data.validation` and `data.split_seed` do not apply.

    Raises:
        MissingData: there is no downloaded copy yet.
        UserError: the folder holds no copy, or a damaged one.
    """
    root = home() if settings.dir is None else expand_dir(settings.dir)
    pngs = home() / f"png-{VERSION}"
    if settings.dir is not None and not is_folder(root / LAYOUT):
        raise UserError(f"--data-dir {settings.dir}: found no {root / LAYOUT}; name the folder that holds {LAYOUT}/")
    if not pngs.exists() and not is_folder(root / LAYOUT):
        raise MissingData(f"data: CIFAR-10 is not on this machine; {REMEDY}")
    with atomic_folder(pngs) as folder:
        if folder is not None:
            write_pngs(folder, root)
    images = label_by_folder("cifar10", pngs)
    return replace(images, held_out=frozenset(name for name in images.names if "/test_" in name))


def write_pngs(folder: Path, root: Path) -> None:
    """CLASS/train_NUMBER.png and CLASS/test_NUMBER.png in `folder`, numbered as in torchvision's copy under `root`.

    The PNGs are stored rather than compressed, so that their bytes do not depend on the compressor's version.
    """
    from torchvision.datasets import CIFAR10

    for part in ("train", "test"):
        try:
            images = CIFAR10(str(root), train=part == "train")
        except (OSError, RuntimeError):  # a file is missing, or its MD5 checksum is wrong
            kind = MissingData if root == home() else UserError
            raise kind(f"data: {root / LAYOUT} is not a complete copy of CIFAR-10; {REMEDY}") from None
        for name in images.classes:
            (folder / name).mkdir(exist_ok=True)
        for number, (pixels, label) in enumerate(zip(images.data, images.targets, strict=True)):
            path = folder / images.classes[label] / f"{part}_{number:05}.png"
            Image.fromarray(pixels).save(path, compress_level=0)


def home() -> Path:
    """Where the downloaded copy and the PNG files lie."""
    return cache_dir() / "cifar10"
