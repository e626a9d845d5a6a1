"""Oxford-IIIT Pet (Parkhi et al. 2012): find or download it, and label it by species or breed.

All 7,390 images of `images/` are used, not the 7,349 of the annotation lists, as fastai does. A file name is the
breed and a number; those of cat breeds start with an upper-case letter.
"""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from lthrun.data.datasets import DATASETS, Download, Images, expand_dir, is_folder, safe_download
from lthrun.data.listing import FORMATS, list_images
from lthrun.errors import MissingData, UserError
from lthrun.storage.files import cache_dir
from lthrun.storage.locks import lock

if TYPE_CHECKING:
    from lthrun.config.sections import Data


def download() -> None:
    """Download the set into the cache with torchvision, which verifies checksums and shows progress.

    Raises:
        UserError: the download failed; the next call starts over.
    """
    from torchvision.datasets import OxfordIIITPet

    with lock(home() / ".lock"):
        if (home() / "complete").exists():
            return
        # Where both folders exist torchvision takes the set for complete, even if unpacking was interrupted.
        shutil.rmtree(home() / "oxford-iiit-pet" / "annotations", ignore_errors=True)
        with safe_download("Oxford-IIIT Pet"):
            OxfordIIITPet(str(home()), download=True)
        (home() / "complete").touch()


@DATASETS.register(
    "Oxford-IIIT Pet: 7,390 photographs, cats against dogs or 37 breeds (Parkhi et al. 2012).",
    "pets",
    download=Download("Oxford-IIIT Pet", "800 MB", download),
)
def list_pets(settings: Data) -> Images:
    """The images under `settings.dir`, or those of the downloaded copy.

    Raises:
        MissingData: there is no downloaded copy yet.
        UserError: the folder is missing, holds no images, or images of one class only.
    """
    if settings.dir is None:
        folder = home() / "oxford-iiit-pet" / "images"
        if not (home() / "complete").exists():
            raise MissingData(
                "data: Oxford-IIIT Pet is not on this machine; download it (800 MB) with `lthrun data prepare`, "
                "name a copy with --data-dir DIR, or use the embedded set, data.dataset: synthetic"
            )
        return label_by_name("pets", folder, settings.labels)
    root = expand_dir(settings.dir)
    for folder in (root / "images", root / "oxford-iiit-pet" / "images"):
        if is_folder(folder):
            return label_by_name("pets", folder, settings.labels)
    raise UserError(
        f"--data-dir {settings.dir}: found neither {root / 'images'} nor {root / 'oxford-iiit-pet' / 'images'}; "
        "name the folder that holds images/"
    )


def label_by_name(name: str, folder: Path, by: str = "species") -> Images:
    """The images in a folder of the Pets layout, sorted by name and labeled `by` species or breed.

    Each labeling has a store of its own.
    """
    skipped: Counter[str] = Counter()
    try:
        folder = folder.resolve()
        paths = list_images(folder, skipped, deep=False)
    except OSError as error:
        raise UserError(f"{folder}: cannot be read: {error.strerror}") from None
    if not paths:
        raise UserError(f"{folder}: holds no images ({', '.join(FORMATS)})")
    kinds = [LABELS[by](path) for path in paths]
    classes = tuple(sorted(set(kinds)))
    if len(classes) < 2:
        raise UserError(f"{folder}: all {len(paths)} images are of one class, {classes[0]}; {NAMING[by]}")
    labels = [classes.index(kind) for kind in kinds]
    return Images(name if by == "species" else f"{name}-{by}", folder, paths, labels, classes, skipped=skipped)


def species(path: Path) -> str:
    return "cat" if path.name[0].isupper() else "dog"


def breed(path: Path) -> str:
    """`Abyssinian` for Abyssinian_12.jpg; a name without a number is a breed of its own."""
    return path.stem.rpartition("_")[0] or path.stem


LABELS = {"species": species, "breed": breed}
NAMING = {
    "species": "cats' file names start with an upper-case letter, dogs' with a lower-case one",
    "breed": "file names are the breed, an underscore and a number",
}


def home() -> Path:
    return cache_dir() / "pets"
