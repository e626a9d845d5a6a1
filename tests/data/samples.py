"""Small image files, and what a store holds of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from lthrun.config.sections import Data
from lthrun.data import folder, pets
from lthrun.data.store import Store, open_store

CLASSES = ("cat", "dog", "fox")


def save_noise(path: Path, width: int, height: int, seed: int | list[int] = 0, **options: object) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)


def open_pets(images: Path, size: int = 16, skip_unreadable: bool = False) -> Store:
    """The store of a folder of the Pets layout."""
    return open_store(pets.list_pets(Data(dir=str(images.parent))), size, skip_unreadable)


def open_folder(root: Path, size: int = 16, skip_unreadable: bool = False) -> Store:
    """The store of a folder of class folders."""
    return open_store(folder.list_folder(Data(dataset="folder", dir=str(root))), size, skip_unreadable)


def stored_pixels(store: Store, image: int) -> np.ndarray:
    """The pixels of one image, [height, width, channels], read without lthrun."""
    areas = [w * h * store.channels for w, h in zip(store.widths, store.heights, strict=True)]
    shape = store.heights[image], store.widths[image], store.channels
    return np.fromfile(store.pixels, np.uint8, areas[image], offset=sum(areas[:image])).reshape(shape)


def write_sides(root: Path, **counts: int) -> Path:
    """So many images of each class in each of the folders named."""
    for s, (side, count) in enumerate(counts.items()):
        for c, name in enumerate(CLASSES):
            (root / side / name).mkdir(parents=True)
            for i in range(count):
                save_noise(root / side / name / f"{i:03}.png", 18, 18, [s, c, i])
    return root
