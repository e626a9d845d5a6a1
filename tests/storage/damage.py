"""Damage to files."""

from __future__ import annotations

from pathlib import Path


def flip_bit(path: Path, place: float) -> None:
    """Flip one bit, at a place from 0 (the first byte) to 1 (the last)."""
    data = bytearray(path.read_bytes())
    data[int(place * (len(data) - 1))] ^= 4
    path.write_bytes(data)
