"""From an image file to the pixels of the store.

Files are read by their content, whatever their suffix, if it is one of `FORMATS`. Transparent parts are laid on white;
16-bit gray is scaled to 8 bits; of several frames or pages the first is read. Pixels are read as they are stored: an
orientation in the EXIF data is not applied, as torchvision's data sets do not apply it.
"""

from __future__ import annotations

import hashlib
import io
import stat
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

MAX_ASPECT = 4
MAX_PIXELS = 80_000_000  # of an image: 8,944 × 8,944; a file of a few kilobytes can declare gigabytes
MAX_BYTES = 500_000_000  # of an image file
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")  # Pillow reads more, and runs Ghostscript for one of them


class Decoded(NamedTuple):
    """An image as the store keeps it: uint8 RGB pixels by rows, and a digest of its file."""

    digest: str
    height: int
    width: int
    pixels: bytes


def decode(path: Path, size: int) -> Decoded | str:
    """An image with its shorter side `size` pixels, or why it cannot be read.

    The longer side is in proportion, up to 4:1; of anything longer the middle is kept.
    """
    try:
        file = path.stat()
        if not stat.S_ISREG(file.st_mode):  # reading a pipe or a device may never end
            return "not a file"
        if file.st_size > MAX_BYTES:
            return f"found {file.st_size:,} bytes; must be at most {MAX_BYTES:,}"
        content = path.read_bytes()
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            full = image.size
            if full[0] * full[1] > MAX_PIXELS:
                return f"found {full[0]} x {full[1]} pixels; must be at most {MAX_PIXELS:,}"
            # The JPEG decoder halves the image as often as it stays above the size.
            image.draft("RGB", (size, size))
            rgb = to_rgb(image)
        width, height = (min(MAX_ASPECT * size, max(size, round(size * side / min(full)))) for side in full)
        across = min(rgb.width, MAX_ASPECT * rgb.height)
        down = min(rgb.height, MAX_ASPECT * rgb.width)
        left, top = (rgb.width - across) / 2, (rgb.height - down) / 2
        small = rgb.resize((width, height), Image.Resampling.BILINEAR, box=(left, top, left + across, top + down))
    except UnidentifiedImageError:
        return f"not an image in a format that is read: {', '.join(FORMATS)}"
    except Image.DecompressionBombError:
        return f"more than {MAX_PIXELS:,} pixels"
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return Decoded(hashlib.sha256(content).hexdigest()[:32], height, width, small.tobytes())


def to_rgb(image: Image.Image) -> Image.Image:
    """The image in RGB, 8 bits each; transparent parts on white."""
    if image.mode.startswith("I"):  # 16-bit gray, which Pillow's own conversion may clip
        image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
