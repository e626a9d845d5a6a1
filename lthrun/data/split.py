"""Which images are trained on and which are held out for validation.

The split is a function of a seed and of the images' names, so that replicates with other training seeds share it, and
adding an image moves no other. Byte-identical images stay on one side: a copy of a validation image in training would
be learned by heart.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence


def group_duplicates(digests: Sequence[str]) -> list[list[int]]:
    """The images by index, byte-identical ones together."""
    groups: dict[str, list[int]] = {}
    for i, digest in enumerate(digests):
        groups.setdefault(digest, []).append(i)
    return list(groups.values())


def draw_validation(names: Sequence[str], groups: list[list[int]], percent: float, seed: int) -> list[int]:
    """round(percent / 100 · n) images, in the order of a hash of `seed` and the name of a group's first image.

    A group that would exceed that count is left for training.
    """
    drawn = sorted(groups, key=lambda g: hashlib.sha256(os.fsencode(f"{seed}/split/{names[g[0]]}")).digest())
    count = round(percent / 100 * len(names))
    valid: list[int] = []
    for group in drawn:
        if len(valid) + len(group) <= count:
            valid += group
    return sorted(valid)
