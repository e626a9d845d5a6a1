"""Digests by which damage is noticed. They guard against broken disks, not against people."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

import xxhash


class Hasher(Protocol):
    def update(self, data: Any, /) -> None: ...

    def hexdigest(self) -> str: ...


DIGEST = "xxh3"  # of new files; it is as fast as memory
HASHERS: dict[str, Callable[[], Hasher]] = {
    DIGEST: xxhash.xxh3_128,
    "blake2b": partial(hashlib.blake2b, digest_size=16),  # of files written before
}


def find_digest(facts: Mapping[str, Any]) -> tuple[str | None, Any]:
    """The algorithm and the digest that a file's metadata hold; None for files of other programs."""
    return next(((name, facts[name]) for name in HASHERS if name in facts), (None, None))
