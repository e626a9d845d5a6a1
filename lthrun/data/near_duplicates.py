"""Nearly the same image on two sides of the split: a copy that was resized, saved again or slightly cropped.

Byte-identical images are kept on one side; copies of other bytes are not, and a network that has seen one of them in
training is evaluated on the other. So `lthrun data info` names them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from PIL import Image

from lthrun.data.store import Store

MAX_DISTANCE = 6  # differing bits of 64
MIN_CORRELATION = 0.99  # of thumbnails: two images of one digit or pose can share a hash
SIDE = 32


def find_near_duplicates(store: Store, sides: Sequence[Sequence[int]]) -> list[tuple[str, str]]:
    """Pairs of images on different sides that are nearly the same, by name.

    A pair's perceptual hashes (ImageHash's phash, 64 bits) differ in at most MAX_DISTANCE bits, and its gray thumbnails
    correlate by at least MIN_CORRELATION.
    """
    hashes, thumbnails = summarize_images(store)
    pairs = []
    for one, other in combinations(sides, 2):
        for a, b in close_pairs(hashes, np.array(one, int), np.array(other, int)):
            if float(thumbnails[a] @ thumbnails[b]) >= MIN_CORRELATION:
                pairs.append((store.names[a], store.names[b]))
    return sorted(pairs)


def summarize_images(store: Store) -> tuple[np.ndarray, np.ndarray]:
    """Of each image its hash, uint64 [n], and its thumbnail, float [n, SIDE²], of mean 0 and length 1."""
    import imagehash

    pixels = np.memmap(store.pixels, np.uint8, "r")
    hashes, thumbnails, start = [], [], 0
    for height, width in zip(store.heights, store.widths, strict=True):
        size = height * width * store.channels
        shape = (height, width) if store.channels == 1 else (height, width, 3)
        image = Image.fromarray(np.asarray(pixels[start : start + size]).reshape(shape)).convert("L")
        hashes.append(np.packbits(imagehash.phash(image).hash.ravel()).view(np.uint64)[0])
        thumbnail = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX), float).ravel()
        thumbnail -= thumbnail.mean()
        thumbnails.append(thumbnail / max(1e-9, float(np.linalg.norm(thumbnail))))
        start += size
    return np.array(hashes, np.uint64), np.array(thumbnails)


def close_pairs(hashes: np.ndarray, one: np.ndarray, other: np.ndarray) -> Iterator[tuple[int, int]]:
    """Pairs of images whose hashes differ in at most MAX_DISTANCE bits; a block at a time, to bound memory."""
    if not len(one) or not len(other):
        return
    for block in np.array_split(other, -(-len(other) // 256)):
        distances = np.bitwise_count(hashes[one][:, None] ^ hashes[block])
        for a, b in np.argwhere(distances <= MAX_DISTANCE):
            yield int(one[a]), int(block[b])
