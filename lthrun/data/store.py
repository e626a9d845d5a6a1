"""Every image decoded once, into one memory-mapped file of uint8 pixels beside a small index.

An image is stored with its shorter side `size` pixels and its longer side in proportion, by rows, channels last; images
follow one another without gaps. Where all images are gray, the store has one channel. It is rebuilt when the files, the
size or `VERSION` change.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lthrun.data.augmentation import AUGMENTATIONS
from lthrun.data.datasets import Images
from lthrun.data.decoding import Decoded, Unreadable, decode, measure_depth, probe
from lthrun.data.split import Split, draw_split, group_duplicates
from lthrun.errors import UserError, shorten
from lthrun.events import Decoding, Emit, Waiting, ignore
from lthrun.storage.files import atomic_file, cache_dir
from lthrun.storage.json_files import read_json, write_json
from lthrun.storage.locks import lock

if TYPE_CHECKING:
    from lthrun.config.sections import Data

COLUMNS = ("names", "labels", "digests", "heights", "widths")  # of the index
VERSION = 3  # raised when the pixels or the split of equal files would change


@dataclass(frozen=True)
class Store:
    """The index of a store. The lists are parallel; image i has heights[i] · widths[i] pixels of `channels` bytes.

    Attributes:
        white: by kind of image of more than 8 bits, the value that became 255 (lthrun.data.decoding).
        unreadable: by name, why an image could not be read.
        valid, test: names of the data set's own validation and test images, where it has them.
        skipped: files that are no images of the data set, counted by reason.
    """

    pixels: Path
    size: int
    channels: int
    classes: tuple[str, ...]
    names: list[str]
    labels: list[int]
    digests: list[str]
    heights: list[int]
    widths: list[int]
    unreadable: dict[str, str]
    white: dict[str, float] = field(default_factory=dict)
    valid: frozenset[str] | None = None
    test: frozenset[str] | None = None
    skipped: Mapping[str, int] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """What the images are, wherever they lie: a hash of names, labels and contents."""
        images = list(zip(self.names, self.labels, self.digests, strict=True))
        return hash_text(repr((VERSION, self.size, self.classes, images)))

    def split(self, settings: Data) -> Split:
        """The images by side: the data set's own sides, and what it lacks drawn from the others (lthrun.data.split)."""
        sides: dict[str, list[int]] = {"train": [], "valid": [], "test": []}
        for i, name in enumerate(self.names):
            sides["valid" if name in (self.valid or ()) else "test" if name in (self.test or ()) else "train"].append(i)
        groups = group_duplicates(self.digests, sides["train"])
        validation = settings.validation if self.valid is None else 0.0
        test = settings.test if self.test is None else 0.0
        drawn = draw_split(self.names, self.labels, groups, validation, test, settings.split_seed)
        return Split(drawn.train, drawn.valid or sides["valid"], drawn.test or sides["test"])

    def key_facts(self, split: Split, settings: Data) -> dict[str, Any]:
        """What a level's numbers depend on: the images, which of them are on which side, and how they are varied."""

        def hash_sides(sides: Sequence[list[int]]) -> str:
            return hash_text(repr([[self.names[i] for i in side] for side in sides]))

        facts: dict[str, Any] = {"images": self.identity, "split": hash_sides(split[:2])}
        chosen = {name for name in settings.augmentation if name != "none"}
        if split.test:
            facts["test"] = hash_sides(split[2:])
        if settings.image_size != self.size:
            facts["image_size"] = settings.image_size
        if chosen:
            facts["augmentation"] = [AUGMENTATIONS.key_facts(name, settings) for name in sorted(chosen)]
        if settings.normalize != "none":
            facts["normalize"] = settings.normalize
        return facts

    def count_classes(self, ids: Iterable[int]) -> list[int]:
        """How many of some images are of each class."""
        counts = Counter(self.labels[i] for i in ids)
        return [counts[c] for c in range(len(self.classes))]

    def describe(self, split: Split) -> dict[str, Any]:
        """What `lthrun data info` shows: counts, split, majority rate, duplicates, what was not read and why."""

        def per_class(ids: Iterable[int]) -> dict[str, int]:
            return dict(zip(self.classes, self.count_classes(ids), strict=True))

        groups = group_duplicates(self.digests)
        own = [side for side, names in (("valid", self.valid), ("test", self.test)) if names is not None]
        return {
            "images": len(self.names),
            "classes": per_class(range(len(self.names))),
            **{side: per_class(ids) for side, ids in split._asdict().items()},
            **{f"n_{side}": len(ids) for side, ids in split._asdict().items()},
            "own_sides": own,
            "majority_rate": max(per_class(split.valid).values()) / len(split.valid) if split.valid else None,
            "duplicates": [[self.names[i] for i in group] for group in groups if len(group) > 1],
            "unreadable": self.unreadable,
            "skipped": dict(self.skipped),
            "channels": self.channels,
            "white": self.white,
            "image_size": self.size,
            "store": str(self.pixels.parent),
            "bytes": self.pixels.stat().st_size,
        }


def hash_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def open_store(images: Images, size: int, skip_unreadable: bool = False, emit: Emit = ignore) -> Store:
    """The store of `images` at `size` pixels, built if it is missing or out of date.

    Raises:
        UserError: images cannot be read (all are listed) and are not to be skipped.
    """
    store = read_store(images, size)
    if store is None:
        with lock(store_dir(images, size) / ".lock", lambda: emit(Waiting(str(images.folder)))):
            store = read_store(images, size) or build_store(images, size, skip_unreadable, emit)
    if store.unreadable and not skip_unreadable:
        refuse_unreadable(store.unreadable, len(images.paths))
    return store


def store_dir(images: Images, size: int) -> Path:
    place = hashlib.sha256(str(images.folder).encode()).hexdigest()[:8]
    return cache_dir() / "stores" / f"{images.name}-{size}px-{place}"


def read_store(images: Images, size: int) -> Store | None:
    """The store on disk, or None where there is none that is up to date."""
    folder = store_dir(images, size)
    index = read_json(folder / "index.json")
    if index is None or index.pop("stamp", None) != stamp(images, size):
        return None
    pixels = folder / index.pop("pixels")
    if not pixels.exists() or pixels.stat().st_size != index.pop("bytes"):
        return None
    index["classes"] = tuple(index["classes"])
    return Store(pixels=pixels, **own_facts(images), **index)


def stamp(images: Images, size: int) -> str:
    """Changes whenever the store has to be rebuilt: a hash of names, file sizes and modification times."""
    hasher = hashlib.sha256(repr((VERSION, size)).encode())
    for name, path in zip(images.names, images.paths, strict=True):
        try:
            file = path.stat()
            hasher.update(repr((name, file.st_size, file.st_mtime_ns)).encode())
        except OSError:  # a dangling link, which decoding reports
            hasher.update(repr(name).encode())
    return hasher.hexdigest()[:16]


def build_store(images: Images, size: int, skip_unreadable: bool, emit: Emit) -> Store:
    """Decode all images on all cores: Pillow releases the interpreter lock while it decodes and resizes."""
    folder, version = store_dir(images, size), stamp(images, size)
    pixels = folder / f"pixels-{version}.bin"
    rows = []
    unreadable: dict[str, str] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool, atomic_file(pixels) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's: what matters is refused and listed
        depth = measure_depth(pool.map(probe, images.paths))

        def attempt(path: Path) -> Decoded | Unreadable:
            try:
                return decode(path, size, depth)
            except Unreadable as error:
                return error

        decoded = pool.map(attempt, images.paths)
        for i, (name, label, image) in enumerate(zip(images.names, images.labels, decoded, strict=True)):
            if isinstance(image, Unreadable):
                unreadable[name] = str(image)
            else:
                rows.append((name, label, image.digest, image.height, image.width))
                file.write(image.pixels)
            emit(Decoding(i + 1, len(images.paths)))
        if unreadable and not skip_unreadable:
            refuse_unreadable(unreadable, len(images.paths))
        lost = sorted(set(images.labels) - {label for _, label, *_ in rows})
        if lost:
            raise UserError(f"{images.folder}: no image of one class can be read: {images.classes[lost[0]]}")
    facts: dict[str, Any] = {
        "size": size,
        "channels": depth.channels,
        "white": dict(depth.white),
        "unreadable": unreadable,
        **{column: [row[k] for row in rows] for k, column in enumerate(COLUMNS)},
    }
    file_facts = {"stamp": version, "pixels": pixels.name, "bytes": pixels.stat().st_size}
    write_json(folder / "index.json", {**file_facts, "classes": images.classes, **facts})
    for old in folder.glob("pixels-*.bin"):
        if old != pixels:
            old.unlink()
    return Store(pixels=pixels, classes=images.classes, **own_facts(images), **facts)


def own_facts(images: Images) -> dict[str, Any]:
    """What a store has from the list of images rather than from its index."""
    return {"valid": images.valid, "test": images.test, "skipped": images.skipped}


def refuse_unreadable(unreadable: dict[str, str], total: int) -> None:
    shown = [shorten(name) for name in unreadable][:20]
    more = f" and {len(unreadable) - len(shown)} more" if len(unreadable) > len(shown) else ""
    raise UserError(
        f"data: {len(unreadable)} of {total} images cannot be read: {', '.join(shown)}{more}; "
        f"the first: {shorten(next(iter(unreadable.values())))}; "
        "fix or remove them, or leave them out with --skip-unreadable"
    )
