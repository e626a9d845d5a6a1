"""Every image decoded once, into one memory-mapped file of uint8 pixels beside a small index.

An image is kept with its shorter side `size` pixels and its longer side in proportion, up to 4:1 (the
middle of anything longer), as rows of RGB pixels; images follow one another without gaps. The store is
made again when the files, the size or `VERSION` change.

Files are read by their content, whatever their suffix, if it is one of `FORMATS`. What is transparent shows white;
16-bit grey is scaled to 8 bits; of several frames or pages the first is taken. Pixels are taken as they are stored:
an orientation in the EXIF data is not applied, as torchvision's data sets do not apply it.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from lthrun.data.images import Images
from lthrun.errors import UserError, shorten
from lthrun.storage.files import atomic_file, cache_dir
from lthrun.storage.json_files import read_json, write_json
from lthrun.storage.locks import lock

VERSION = 2
LONGEST = 4
PIXELS = 80_000_000  # of an image: 8,944 × 8,944; a file of a few kilobytes can promise gigabytes
BYTES = 500_000_000  # of an image file
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")  # Pillow knows more, and runs Ghostscript for one of them
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Store:
    """The index of a store. The lists are parallel; image i has heights[i] · widths[i] pixels.

    `held_out` are the names of the validation images of a data set that brings its own split.
    """

    pixels: Path
    size: int
    classes: tuple[str, ...]
    names: list[str]
    labels: list[int]
    digests: list[str]
    heights: list[int]
    widths: list[int]
    unreadable: dict[str, str]
    held_out: frozenset[str] | None = None

    @property
    def identity(self) -> str:
        """What the images are, wherever they lie: a hash of names, labels and contents."""
        text = repr((VERSION, self.size, self.classes, list(zip(self.names, self.labels, self.digests, strict=True))))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def groups(self) -> list[list[int]]:
        """The images, byte-identical ones together."""
        groups: dict[str, list[int]] = {}
        for i, digest in enumerate(self.digests):
            groups.setdefault(digest, []).append(i)
        return list(groups.values())

    def split(self, percent: float, seed: int) -> tuple[list[int], list[int]]:
        """Training and validation images: round(percent / 100 · n) for validation, drawn by a hash of seed and name.

        Byte-identical images stay on one side. A split that the data set brings is taken as it is.
        """
        if self.held_out is not None:
            sides: tuple[list[int], list[int]] = ([], [])
            for i, name in enumerate(self.names):
                sides[name in self.held_out].append(i)
            return sides
        drawn = sorted(
            self.groups(), key=lambda g: hashlib.sha256(os.fsencode(f"{seed}/split/{self.names[g[0]]}")).digest()
        )
        wanted = round(percent / 100 * len(self.names))
        valid: list[int] = []
        for group in drawn:
            if len(valid) + len(group) <= wanted:
                valid += group
        held_out = set(valid)
        return [i for i in range(len(self.names)) if i not in held_out], sorted(valid)

    def split_rule(self, percent: float, seed: int) -> dict[str, Any]:
        """What the split depends on, beside the images."""
        if self.held_out is None:
            return {"validation": percent, "split_seed": seed}
        return {"held_out": hashlib.sha256(repr(sorted(self.held_out)).encode()).hexdigest()[:32]}


def open_store(
    images: Images,
    size: int,
    skip_unreadable: bool = False,
    progress: Progress = lambda done, of: None,
    waiting: Callable[[], None] = lambda: None,
) -> Store:
    """The store of `images` at `size` pixels, made if it is missing or out of date.

    Raises:
        UserError: images cannot be read (all are listed) and are not to be skipped.
    """
    where = home(images, size)
    found = current(images, size)
    if found is None:
        with lock(where / ".lock", waiting):
            found = current(images, size) or build(images, size, where, skip_unreadable, progress)
    if found.unreadable and not skip_unreadable:
        complain(found.unreadable, len(images.paths))
    return found


def home(images: Images, size: int) -> Path:
    place = hashlib.sha256(str(images.folder).encode()).hexdigest()[:8]
    return cache_dir() / "stores" / f"{images.name}-{size}px-{place}"


def current(images: Images, size: int) -> Store | None:
    """The store as it is on disk, or None where there is none that is up to date."""
    where = home(images, size)
    index = read_json(where / "index.json")
    if index is None or index.pop("stamp", None) != stamp(images, size):
        return None
    pixels = where / index.pop("pixels")
    if not pixels.exists() or pixels.stat().st_size != index.pop("bytes"):
        return None
    return Store(pixels=pixels, **{**index, "classes": tuple(index["classes"]), "held_out": images.held_out})


def stamp(images: Images, size: int) -> str:
    """Changes whenever the store has to be made again."""
    seen = hashlib.sha256(repr((VERSION, size)).encode())
    for name, path in zip(images.names, images.paths, strict=True):
        try:
            facts = path.stat()
            seen.update(repr((name, facts.st_size, facts.st_mtime_ns)).encode())
        except OSError:  # a dangling link; decoding will say so
            seen.update(repr(name).encode())
    return seen.hexdigest()[:16]


def build(images: Images, size: int, where: Path, skip_unreadable: bool, progress: Progress) -> Store:
    """Decode everything on all cores. Pillow lets go of the interpreter lock while it decodes and resizes."""
    made = stamp(images, size)
    pixels = where / f"pixels-{made}.bin"
    columns: dict[str, list[Any]] = {"names": [], "labels": [], "digests": [], "heights": [], "widths": []}
    unreadable: dict[str, str] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool, atomic_file(pixels) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's: what matters is refused, and listed
        decoded = pool.map(lambda path: decode(path, size), images.paths)
        for i, (name, label, result) in enumerate(zip(images.names, images.labels, decoded, strict=True)):
            if isinstance(result, str):
                unreadable[name] = result
            else:
                digest, height, width, content = result
                for column, value in zip(columns.values(), (name, label, digest, height, width), strict=True):
                    column.append(value)
                file.write(content)
            progress(i + 1, len(images.paths))
        if unreadable and not skip_unreadable:
            complain(unreadable, len(images.paths))
        lost = sorted(set(images.labels) - set(columns["labels"]))
        if lost:
            raise UserError(f"{images.folder}: no image of one class can be read: {images.classes[lost[0]]}")
    total = pixels.stat().st_size
    write_json(
        where / "index.json",
        {"stamp": made, "pixels": pixels.name, "bytes": total, "size": size, "classes": images.classes}
        | columns
        | {"unreadable": unreadable},
    )
    for old in where.glob("pixels-*.bin"):
        if old != pixels:
            old.unlink()
    return Store(pixels, size, images.classes, unreadable=unreadable, held_out=images.held_out, **columns)


def decode(path: Path, size: int) -> tuple[str, int, int, bytes] | str:
    """Digest, height, width and RGB bytes of an image, or why it cannot be read."""
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):  # a pipe or a device would be read for ever
            return "not a file"
        if facts.st_size > BYTES:
            return f"found {facts.st_size:,} bytes; must be at most {BYTES:,}"
        content = path.read_bytes()
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            wide, high = image.size
            if wide * high > PIXELS:
                return f"found {wide} x {high} pixels; must be at most {PIXELS:,}"
            # The decoder itself halves the image as often as it can and stays above the size.
            image.draft("RGB", (size, size))
            rgb = to_rgb(image)
        width, height = (min(LONGEST * size, max(size, round(size * side / min(wide, high)))) for side in (wide, high))
        across = min(rgb.width, LONGEST * rgb.height)
        down = min(rgb.height, LONGEST * rgb.width)
        left, top = (rgb.width - across) / 2, (rgb.height - down) / 2
        small = rgb.resize((width, height), Image.Resampling.BILINEAR, box=(left, top, left + across, top + down))
    except UnidentifiedImageError:
        return f"no image that is read, which are {', '.join(FORMATS)}"
    except Image.DecompressionBombError:
        return f"more than {PIXELS:,} pixels"
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return hashlib.sha256(content).hexdigest()[:32], height, width, small.tobytes()


def to_rgb(image: Image.Image) -> Image.Image:
    """The image in RGB, 8 bits each; transparent parts laid on white."""
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow's own conversion may clip
        image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def describe(store: Store, validation: float, split_seed: int) -> dict[str, Any]:
    """What `lthrun data info` shows."""
    train, valid = store.split(validation, split_seed)

    def per_class(ids: list[int]) -> dict[str, int]:
        counts = Counter(store.labels[i] for i in ids)
        return {name: counts[c] for c, name in enumerate(store.classes)}

    return {
        "images": len(store.names),
        "classes": per_class(list(range(len(store.names)))),
        "train": per_class(train),
        "valid": per_class(valid),
        "n_train": len(train),
        "n_valid": len(valid),
        "majority_rate": max(per_class(valid).values()) / len(valid) if valid else None,
        "duplicates": [[store.names[i] for i in group] for group in store.groups() if len(group) > 1],
        "unreadable": store.unreadable,
        "image_size": store.size,
        "store": str(store.pixels.parent),
        "bytes": store.pixels.stat().st_size,
    }


def complain(unreadable: dict[str, str], total: int) -> None:
    shown = [shorten(name) for name in unreadable][:20]
    more = f" and {len(unreadable) - len(shown)} more" if len(unreadable) > len(shown) else ""
    raise UserError(
        f"data: {len(unreadable)} of {total} images cannot be read: {', '.join(shown)}{more}; "
        f"the first: {shorten(next(iter(unreadable.values())))}; "
        "mend or remove them, or leave them out with --skip-unreadable"
    )
