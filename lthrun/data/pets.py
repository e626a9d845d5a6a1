"""Oxford-IIIT Pet (Parkhi et al. 2012): find it or download it, and label it cat or dog.

All 7,390 images of `images/` are used, not the 7,349 of the annotation lists, as fastai does. The file
names of cat breeds start with an upper-case letter.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lthrun.errors import MissingData, UserError
from lthrun.storage import cache_dir, lock

if TYPE_CHECKING:
    from lthrun.config import Data

CLASSES = ("cat", "dog")
SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Images:
    """Which images there are. `labels` are indices into `classes`, parallel to `paths`."""

    name: str
    folder: Path
    paths: list[Path]
    labels: list[int]
    classes: tuple[str, ...]


def images(settings: Data) -> Images:
    """The images under `settings.dir`, or under lthrun's own copy.

    Raises:
        MissingData: lthrun has no copy yet.
        UserError: the folder given is missing, holds no images or but one class.
    """
    if settings.dir is None:
        folder = home() / "oxford-iiit-pet" / "images"
        if not (home() / "complete").exists():
            raise MissingData(
                "data: Oxford-IIIT Pet is not on this machine; download it (800 MB) with `lthrun data prepare`, "
                "name a copy with --data-dir DIR, or use the embedded set with --set data.dataset=synthetic"
            )
        return in_folder("pets", folder)
    root = Path(settings.dir).expanduser()
    for folder in (root / "images", root / "oxford-iiit-pet" / "images"):
        if folder.is_dir():
            return in_folder("pets", folder)
    raise UserError(
        f"--data-dir {settings.dir}: found neither {root / 'images'} nor {root / 'oxford-iiit-pet' / 'images'}; "
        "name the folder that holds images/"
    )


def in_folder(name: str, folder: Path) -> Images:
    """The images in a folder of the Pets layout, sorted by name; other files are passed over."""
    try:
        found = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    except OSError as error:
        raise UserError(f"{folder}: cannot be read: {error.strerror}") from None
    labels = [0 if path.name[0].isupper() else 1 for path in found]
    if not found:
        raise UserError(f"{folder}: holds no images (files ending in {', '.join(SUFFIXES)})")
    if len(set(labels)) < len(CLASSES):
        raise UserError(
            f"{folder}: all {len(found)} images are of one class, {CLASSES[labels[0]]}; "
            "cats' file names start with an upper-case letter, dogs' with a lower-case one"
        )
    return Images(name, folder.resolve(), found, labels, CLASSES)


def home() -> Path:
    return cache_dir() / "pets"


def download() -> None:
    """Download the set into the cache with torchvision, which checks its sums and shows its progress.

    Raises:
        UserError: the download failed; run again, it starts over.
    """
    from torchvision.datasets import OxfordIIITPet

    with lock(home() / ".lock"):
        if (home() / "complete").exists():
            return
        try:
            OxfordIIITPet(str(home()), download=True)
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"data: the download of Oxford-IIIT Pet failed ({error}); "
                "try again, or fetch it yourself and use --data-dir"
            ) from None
        (home() / "complete").touch()
