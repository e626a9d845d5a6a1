"""Which images are trained on, which are held out for validation, and which for the test.

A data set's own validation and test images are kept. What it has not of its own is drawn from the others, as a function
of a seed and of the images' names: replicates with other training seeds share the split, and adding an image moves few
others. Byte-identical images stay on one side, since a network would have learned the copy of a validation image by
heart. Where a class has few images, they are drawn by themselves, so that each side has its share.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

FEW = 10  # a class that expects fewer images on some side is drawn by itself


class Split(NamedTuple):
    """The images of each side, by index, in order."""

    train: list[int]
    valid: list[int]
    test: list[int]


def group_duplicates(digests: Sequence[str], images: Iterable[int] | None = None) -> list[list[int]]:
    """The images, or those given, by index, byte-identical ones together."""
    groups: dict[str, list[int]] = {}
    for i in range(len(digests)) if images is None else images:
        groups.setdefault(digests[i], []).append(i)
    return list(groups.values())


def draw_split(
    names: Sequence[str], labels: Sequence[int], groups: list[list[int]], validation: float, test: float, seed: int
) -> Split:
    """The images of `groups`, with `validation` and `test` percent of them held out.

    Groups are taken in the order of a hash of `seed` and their first image's name, each by the first side that still
    has room for all of it, of round(percent / 100 · n) images. Each class of few images is drawn so by itself.
    """

    def place(group: list[int]) -> bytes:
        return hashlib.sha256(os.fsencode(f"{seed}/split/{names[group[0]]}")).digest()

    shares = {side: share for side, share in (("valid", validation), ("test", test)) if share}
    least = min([100 - sum(shares.values()), *shares.values()])
    classes: dict[int, list[list[int]]] = {}
    for group in groups:
        classes.setdefault(labels[group[0]], []).append(group)
    few = {label: members for label, members in classes.items() if least / 100 * count_images(members) < FEW}
    common = [group for label, members in classes.items() if label not in few for group in members]
    sides: dict[str, list[int]] = {"train": [], "valid": [], "test": []}
    for stratum in (common, *few.values()):
        room = {side: round(share / 100 * count_images(stratum)) for side, share in shares.items()}
        for group in sorted(stratum, key=place):
            side = next((side for side, count in room.items() if len(group) <= count), "train")
            sides[side] += group
            if side in room:
                room[side] -= len(group)
    return Split(*(sorted(side) for side in sides.values()))


def count_images(groups: list[list[int]]) -> int:
    return sum(map(len, groups))
