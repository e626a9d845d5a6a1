"""CIFAR-10 (Krizhevsky 2009) and MNIST (LeCun et al. 1998) through torchvision, with their own test images.

torchvision keeps CIFAR-10 in pickled files, and reads one only after its MD5 checksum was verified. The images are
written once as PNG files into the cache; from there on these sets are folders like any other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lthrun.data.datasets import DATASETS, Download, Images, expand_dir, is_folder, safe_download
from lthrun.data.folder import label_by_folder
from lthrun.errors import MissingData, UserError
from lthrun.storage.files import cache_dir
from lthrun.storage.locks import atomic_folder, lock

if TYPE_CHECKING:
    from lthrun.config.sections import Data

VERSION = 1  # raised when names or pixels would change: the files are then written again


@dataclass(frozen=True)
class TorchvisionSet:
    """A data set that torchvision downloads.

    Attributes:
        name: in the config.
        title: in messages, and without its hyphen torchvision's name for it.
        layout: the folder by which a copy is known.
    """

    name: str
    title: str
    size: str
    layout: str

    @property
    def home(self) -> Path:
        """Where the downloaded copy and the PNG files lie."""
        return cache_dir() / self.name

    def read(self, root: Path, **options: Any) -> Any:
        """torchvision's data set of the copy under `root`: its training images, or with train=False its test images."""
        from torchvision import datasets

        return getattr(datasets, self.title.replace("-", ""))(str(root), **options)

    def download(self) -> None:
        """Download the set into the cache with torchvision, which verifies checksums and shows progress.

        Raises:
            UserError: the download failed; the next call starts over.
        """
        with lock(self.home / ".lock"), safe_download(self.title):
            self.read(self.home, download=True)

    def list_images(self, settings: Data) -> Images:
        """The images of the copy under `settings.dir`, or of the downloaded one. Its own test images are kept.

        A copy is as torchvision has it, or image files in the folders DIR/train/<class> and DIR/test/<class>.

        Raises:
            MissingData: there is no downloaded copy yet.
            UserError: the folder holds no copy, or a damaged one.
        """
        root = self.home if settings.dir is None else expand_dir(settings.dir)
        pngs = self.home / f"png-{VERSION}"
        if settings.dir is not None and not is_folder(root / self.layout):
            if is_folder(root / "train") and is_folder(root / "test"):
                return label_by_folder(self.name, root, ("train", "test"))
            raise UserError(
                f"--data-dir {settings.dir}: found neither {root / self.layout} nor both {root / 'train'} and "
                f"{root / 'test'}; name the folder that holds {self.layout}/, or train/ and test/"
            )
        if not pngs.exists() and not is_folder(root / self.layout):
            raise MissingData(f"data: {self.title} is not on this machine; {self.remedy}")
        with atomic_folder(pngs) as folder:
            if folder is not None:
                self.write_pngs(folder, root)
        images = label_by_folder(self.name, pngs)
        return replace(images, test=frozenset(name for name in images.names if "/test_" in name))

    def write_pngs(self, folder: Path, root: Path) -> None:
        """CLASS/train_NUMBER.png and CLASS/test_NUMBER.png in `folder`, numbered as in the copy under `root`.

        The PNGs are stored rather than compressed, so that their bytes do not depend on the compressor's version.
        """
        import numpy as np
        from PIL import Image

        for part in ("train", "test"):
            try:
                images = self.read(root, train=part == "train")
            except Exception:  # a file is missing, its checksum is wrong, or it is cut off: torchvision raises anything
                kind = MissingData if root == self.home else UserError
                raise kind(
                    f"data: {root / self.layout} is not a complete copy of {self.title}; {self.remedy}"
                ) from None
            classes = [name.partition(" - ")[0] for name in images.classes]  # of MNIST "0 - zero"
            for name in classes:
                (folder / name).mkdir(exist_ok=True)
            for number, (pixels, label) in enumerate(zip(np.asarray(images.data), images.targets, strict=True)):
                path = folder / classes[int(label)] / f"{part}_{number:05}.png"
                Image.fromarray(pixels).save(path, compress_level=0)

    @property
    def remedy(self) -> str:
        return (
            f"download it ({self.size}) with `lthrun data prepare --set data.dataset={self.name}`, or name a copy with "
            "--data-dir DIR"
        )


CIFAR10 = TorchvisionSet("cifar10", "CIFAR-10", "170 MB", "cifar-10-batches-py")
MNIST = TorchvisionSet("mnist", "MNIST", "12 MB", "MNIST/raw")

DATASETS.add(
    CIFAR10.name,
    "CIFAR-10: 60,000 images of 32 px in 10 classes, 10,000 of them its own test images (Krizhevsky 2009).",
    CIFAR10.list_images,
    download=Download(CIFAR10.title, CIFAR10.size, CIFAR10.download),
)
DATASETS.add(
    MNIST.name,
    "MNIST: 70,000 gray images of 28 px in 10 classes, 10,000 of them its own test images (LeCun et al. 1998).",
    MNIST.list_images,
    download=Download(MNIST.title, MNIST.size, MNIST.download),
)
