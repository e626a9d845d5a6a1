"""From an image file to the pixels of the store.

Files are read by their content, whatever their suffix, if it is one of `FORMATS`. Transparent parts are laid on white;
of several frames or pages the first is read. Pixels are read as they are stored: an orientation in the EXIF data is not
applied, as torchvision's data sets do not apply it.

Gray images of more than 8 bits (of 16 or 32, or floating-point) say nowhere which of their values is white: a 16-bit
file may hold 8, 12 or 16 bits. So white is set per data set and kind of image, from the largest value that all its
images of that kind hold: the largest number of as many bits, 255 for 200 and 65,535 for 40,000.
"""

from __future__ import annotations

import hashlib
import io
import math
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from lthrun.data.listing import FORMATS

MAX_ASPECT = 4
MAX_PIXELS = 80_000_000  # of an image: 8,944 × 8,944; a file of a few kilobytes can declare gigabytes
MAX_BYTES = 500_000_000  # of an image file
DEEP_COLOR = "16-bit color"


class Unreadable(Exception):
    """An image that cannot be read, and why, in one line."""


class Probe(NamedTuple):
    """What an image is before it is decoded: gray or color, and of one of more than 8 bits its kind and its maximum."""

    is_gray: bool
    kind: str | None = None
    largest: float = 0.0


class Depth(NamedTuple):
    """How the images of a data set are stored.

    Attributes:
        channels: 1 where all images are gray, else 3.
        white: by kind of image of more than 8 bits, the value that becomes 255.
    """

    channels: int
    white: Mapping[str, float]


class Decoded(NamedTuple):
    """An image as the store keeps it: uint8 pixels by rows, channels last, and a digest of its file."""

    digest: str
    height: int
    width: int
    pixels: bytes


def probe(path: Path) -> Probe | None:
    """What an image is; None where it cannot be read, which `decode` explains."""
    try:
        with explained():
            check_file(path)
            with Image.open(path, formats=FORMATS) as image:
                kind = deep_kind(image)
                is_gray = image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I")
                if kind is None:
                    return Probe(is_gray)
                check_pixels(image)
                values = np.asarray(image)
                return Probe(is_gray, kind, float((values[..., :3] if kind == DEEP_COLOR else values).max()))
    except Unreadable:
        return None


def measure_depth(probes: Iterable[Probe | None]) -> Depth:
    """How a data set's images are stored, from all of them."""
    known = [found for found in probes if found]
    white: dict[str, float] = {}
    for found in known:
        if found.kind and not math.isnan(found.largest):
            white[found.kind] = max(white.get(found.kind, 0), find_white(found.largest))
    return Depth(1 if known and all(found.is_gray for found in known) else 3, white)


def find_white(largest: float) -> float:
    """The largest number of as many bits as `largest` has; up to 1, as floating-point images have it, a power of 2."""
    if largest <= 0 or math.isinf(largest):
        return 1.0
    if largest <= 1:
        return 2.0 ** math.ceil(math.log2(largest))
    return float(2 ** math.ceil(largest).bit_length() - 1)


def decode(path: Path, size: int, depth: Depth) -> Decoded:
    """An image with its shorter side `size` pixels.

    The longer side is in proportion, up to 4:1; of anything longer the middle is kept.

    Raises:
        Unreadable: the file is none that is read, is damaged, or too large.
    """
    with explained():
        check_file(path)
        content = path.read_bytes()
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            check_pixels(image)
            full = image.size
            # The JPEG decoder halves the image as often as it stays above the size.
            image.draft("RGB", (size, size))
            plain = to_8_bits(image, depth.white)
            if plain.has_transparency_data:
                plain = plain.convert("RGBA")
                plain = Image.alpha_composite(Image.new("RGBA", plain.size, "white"), plain)
            plain = plain.convert("RGB").convert("L" if depth.channels == 1 else "RGB")
        width, height = (min(MAX_ASPECT * size, max(size, round(size * side / min(full)))) for side in full)
        across = min(plain.width, MAX_ASPECT * plain.height)
        down = min(plain.height, MAX_ASPECT * plain.width)
        left, top = (plain.width - across) / 2, (plain.height - down) / 2
        small = plain.resize((width, height), Image.Resampling.BILINEAR, box=(left, top, left + across, top + down))
        return Decoded(hashlib.sha256(content).hexdigest()[:32], height, width, small.tobytes())


def deep_kind(image: Image.Image) -> str | None:
    """The kind of an image of more than 8 bits, else None."""
    if image.mode == "F":
        return "floating-point gray"
    if image.mode.startswith("I"):
        return "16-bit gray" if ";16" in image.mode else "32-bit gray"
    return DEEP_COLOR if any(";16" in str(tile[3]) for tile in getattr(image, "tile", ())) else None


def to_8_bits(image: Image.Image, white: Mapping[str, float]) -> Image.Image:
    """The image with 8 bits per channel, `white` being 255. Of 16-bit color Pillow reads the upper 8 bits alone."""
    kind = deep_kind(image)
    if kind is None:
        return image
    if kind == DEEP_COLOR:
        if white.get(kind, 255) < 128:
            raise Unreadable(f"{kind} of which not all 16 bits are used would be dark: save it with 8 bits per channel")
        return image
    values = np.asarray(image).astype(np.float64)
    if not (np.isfinite(values).all() and values.min() >= 0):
        raise Unreadable(f"{kind} with values below 0 or not finite: save it with 8 bits")
    return Image.fromarray(np.floor(values * 255 / white.get(kind, 65535)).clip(0, 255).astype(np.uint8))


def check_file(path: Path) -> None:
    file = path.stat()
    if not stat.S_ISREG(file.st_mode):  # reading a pipe or a device may never end
        raise Unreadable("not a file")
    if file.st_size > MAX_BYTES:
        raise Unreadable(f"found {file.st_size:,} bytes; must be at most {MAX_BYTES:,}")


def check_pixels(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise Unreadable(f"found {image.width} x {image.height} pixels; must be at most {MAX_PIXELS:,}")


@contextmanager
def explained() -> Iterator[None]:
    """What goes wrong with an image, as Unreadable."""
    try:
        yield
    except Unreadable:
        raise
    except UnidentifiedImageError:
        raise Unreadable(f"not an image in a format that is read: {', '.join(FORMATS)}") from None
    except Image.DecompressionBombError:
        raise Unreadable(f"more than {MAX_PIXELS:,} pixels") from None
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        raise Unreadable(f"{type(error).__name__}: {error}".splitlines()[0]) from None
