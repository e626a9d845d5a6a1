"""Folders of small images."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.data.samples import save_noise

SHAPES = [(40, 30), (30, 40), (32, 32), (200, 30), (30, 200), (16, 48), (64, 65)]


@pytest.fixture
def pets_folder(tmp_path: Path) -> Path:
    """Nine images of the Pets layout in several shapes, two of them byte-identical."""
    place = tmp_path / "set" / "images"
    place.mkdir(parents=True)
    for i, (width, height) in enumerate(SHAPES):
        save_noise(place / f"{'Cat' if i % 2 else 'dog'}_{i}.jpg", width, height, i)
    shutil.copy(place / "dog_0.jpg", place / "dog_copy.jpg")
    save_noise(place / "Cat_png.jpg", 50, 40, 9, format="PNG")
    return place


@pytest.fixture
def class_folders(tmp_path: Path) -> Path:
    """Three classes of ten images each, one of them deeper, with file names that repeat."""
    root = tmp_path / "own"
    for c, name in enumerate(("cherry", "apple", "banana")):
        (root / name / "deep").mkdir(parents=True)
        for i in range(10):
            save_noise(root / name / ("deep" if i == 9 else "") / f"{i}.png", 18 + i, 20, [c, i])
    return root
