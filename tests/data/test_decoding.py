"""Files of every format and mode, odd ones and hostile ones, from file to pixels."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lthrun.data.decoding import decode

COLOR = (200, 100, 50)
GRAY = round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)


def sample(kind: str) -> tuple[Image.Image, dict[str, object], tuple[object, object]]:
    """An image, how it is saved (under a .jpg name), and the colors of its left and right half."""
    plain = Image.new("RGB", (40, 30), COLOR)
    clear = Image.new("RGBA", (40, 30), (*COLOR, 255))
    clear.paste((0, 200, 0, 0), (20, 0, 40, 30))
    half = Image.new("RGBA", (40, 30), (*COLOR, 128))
    halved = tuple(round(255 + (c - 255) * 128 / 255) for c in COLOR)
    ramp = Image.fromarray(np.full((30, 40), 40_000, np.uint16))
    palette = Image.new("P", (40, 30), 1)
    palette.putpalette([0, 200, 0, *COLOR])
    palette.paste(0, (20, 0, 40, 30))
    white, gray = (255, 255, 255), (GRAY,) * 3
    frames = {"save_all": True, "append_images": [Image.new("RGB", (40, 30), (0, 0, 255))]}
    return {
        "JPEG": (plain, {"format": "JPEG"}, (COLOR, COLOR)),
        "PNG": (plain, {"format": "PNG"}, (COLOR, COLOR)),
        "GIF": (plain, {"format": "GIF"}, (COLOR, COLOR)),
        "BMP": (plain, {"format": "BMP"}, (COLOR, COLOR)),
        "WEBP": (plain, {"format": "WEBP", "lossless": True}, (COLOR, COLOR)),
        "TIFF": (plain, {"format": "TIFF"}, (COLOR, COLOR)),
        "animated GIF": (plain, {"format": "GIF", **frames}, (COLOR, COLOR)),
        "gray JPEG": (plain.convert("L"), {"format": "JPEG"}, (gray, gray)),
        "gray PNG": (plain.convert("L"), {"format": "PNG"}, (gray, gray)),
        "black and white": (Image.new("1", (40, 30), 1), {"format": "PNG"}, (white, white)),
        "16-bit gray PNG": (ramp, {"format": "PNG"}, ((40_000 // 257,) * 3,) * 2),
        "16-bit gray TIFF": (ramp, {"format": "TIFF"}, ((40_000 // 257,) * 3,) * 2),
        "CMYK": (plain.convert("CMYK"), {"format": "JPEG", "quality": 95}, (COLOR, COLOR)),
        "alpha PNG": (clear, {"format": "PNG"}, (COLOR, white)),
        "half alpha PNG": (half, {"format": "PNG"}, (halved, halved)),
        "alpha WEBP": (clear, {"format": "WEBP", "lossless": True}, (COLOR, white)),
        "gray alpha PNG": (clear.convert("LA"), {"format": "PNG"}, (gray, white)),
        "palette PNG": (palette, {"format": "PNG"}, (COLOR, (0, 200, 0))),
        "transparent palette PNG": (palette, {"format": "PNG", "transparency": 0}, (COLOR, white)),
        "transparent GIF": (palette, {"format": "GIF", "transparency": 0}, (COLOR, white)),
        "color-keyed PNG": (plain, {"format": "PNG", "transparency": COLOR}, (white, white)),
    }[kind]


KINDS = """JPEG, PNG, GIF, BMP, WEBP, TIFF, animated GIF, gray JPEG, gray PNG, black and white, 16-bit gray PNG,
    16-bit gray TIFF, CMYK, alpha PNG, half alpha PNG, alpha WEBP, gray alpha PNG, palette PNG,
    transparent palette PNG, transparent GIF, color-keyed PNG"""


@pytest.mark.parametrize("kind", [kind.strip() for kind in KINDS.split(",")])
def test_files_of_every_kind_keep_their_colors(tmp_path: Path, kind: str):
    picture, options, (left, right) = sample(kind)
    picture.save(tmp_path / "a.jpg", **options)
    decoded = decode(tmp_path / "a.jpg", 30)
    assert not isinstance(decoded, str), decoded
    _, height, width, content = decoded
    pixels = np.frombuffer(content, np.uint8).reshape(height, width, 3).astype(int)
    assert (height, width) == (30, 40)
    assert np.abs(pixels[:, :18] - left).max() <= 4 and np.abs(pixels[:, 22:] - right).max() <= 4


def test_an_orientation_in_the_exif_data_is_not_applied(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Image.new("RGB", (40, 30), COLOR).save(tmp_path / "a.jpg", exif=exif)
    decoded = decode(tmp_path / "a.jpg", 30)
    assert decoded[1:3] == (30, 40)


def test_a_decompression_bomb_is_refused_without_being_decoded(tmp_path: Path):
    for mode, side in (("1", 20_000), ("1", 9_000)):  # the second is one that Pillow would only warn of
        Image.new(mode, (side, side)).save(tmp_path / "bomb.png")
        before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
        assert "80,000,000" in str(decode(tmp_path / "bomb.png", 16))
        assert time.perf_counter() - start < 1
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "kB"


def test_no_program_is_started_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import subprocess

    for name in ("Popen", "run", "call", "check_call"):
        monkeypatch.setattr(subprocess, name, lambda *_, **__: pytest.fail("a program was started"))
    (tmp_path / "page.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    assert str(decode(tmp_path / "page.jpg", 16)).startswith("not an image in a format")
