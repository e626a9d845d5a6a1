"""Files of every format and mode, odd ones and hostile ones, from file to pixels."""

from __future__ import annotations

import resource
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lthrun.data.decoding import Decoded, Unreadable, decode, find_white, measure_depth, probe

COLOR = (200, 100, 50)
GRAY = round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)


def decode_set(size: int, *paths: Path) -> list[Decoded]:
    """The images of a data set."""
    depth = measure_depth(map(probe, paths))
    return [decode(path, size, depth) for path in paths]


def color(folder: Path) -> Path:
    """An image that gives a data set three channels."""
    Image.new("RGB", (40, 30), COLOR).save(folder / "color.png")
    return folder / "color.png"


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
    _, height, width, content = decode_set(30, tmp_path / "a.jpg", color(tmp_path))[0]
    pixels = np.frombuffer(content, np.uint8).reshape(height, width, 3).astype(int)
    assert (height, width) == (30, 40)
    assert np.abs(pixels[:, :18] - left).max() <= 4 and np.abs(pixels[:, 22:] - right).max() <= 4


def test_an_orientation_in_the_exif_data_is_not_applied(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Image.new("RGB", (40, 30), COLOR).save(tmp_path / "a.jpg", exif=exif)
    assert decode_set(30, tmp_path / "a.jpg")[0][1:3] == (30, 40)


def test_a_decompression_bomb_is_refused_without_being_decoded(tmp_path: Path):
    for mode, side in (("1", 20_000), ("1", 9_000)):  # the second is one that Pillow would only warn of
        Image.new(mode, (side, side)).save(tmp_path / "bomb.png")
        before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
        with pytest.raises(Unreadable, match="80,000,000"):
            decode_set(16, tmp_path / "bomb.png")
        assert time.perf_counter() - start < 1
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "kB"


def test_no_program_is_started_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import subprocess

    for name in ("Popen", "run", "call", "check_call"):
        monkeypatch.setattr(subprocess, name, lambda *_, **__: pytest.fail("a program was started"))
    (tmp_path / "page.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    with pytest.raises(Unreadable, match="not an image in a format"):
        decode_set(16, tmp_path / "page.jpg")


def png16(path: Path, pixels: np.ndarray) -> Path:
    """A PNG file of 16 bits per channel; pixels are [height, width, 3]."""
    height, width, _ = pixels.shape

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    return path


@pytest.mark.parametrize(
    "suffix, kind", [("png", np.uint16), ("tif", np.uint16), ("tif", np.int32), ("tif", np.float32)]
)
@pytest.mark.parametrize("largest", [255, 229, 4095, 65535])
def test_gray_images_of_more_than_8_bits_are_scaled_by_the_bits_that_their_set_uses(
    tmp_path: Path, suffix: str, kind: type, largest: int
):
    white = {255: 255, 229: 255, 4095: 4095, 65535: 65535}[largest]
    rng = np.random.default_rng(0)
    dark, bright = (rng.integers(low, high, (16, 16)) for low, high in ((0, largest // 4), (largest // 2, largest + 1)))
    bright[0, 0] = largest
    paths = [tmp_path / f"{name}.{suffix}" for name in ("dark", "bright")]
    for path, values in zip(paths, (dark, bright), strict=True):
        Image.fromarray(values.astype(kind)).save(path)
    for image, values in zip(decode_set(16, *paths), (dark, bright), strict=True):
        pixels = np.frombuffer(image.pixels, np.uint8).reshape(16, 16)
        assert np.array_equal(pixels, values * 255 // white)
        assert largest > 255 or np.array_equal(pixels, values), "equal to the same picture as an 8-bit PNG"


@pytest.mark.parametrize("largest, white", [(1, 1), (2, 3), (0.3, 0.5), (1.0, 1), (100, 127), (256, 511), (0, 1)])
def test_white_is_at_most_twice_the_largest_value(largest: float, white: float):
    assert find_white(largest) == white


@pytest.mark.parametrize(
    "kind, value", [(np.int32, -1), (np.float32, -0.1), (np.float32, np.nan), (np.float32, np.inf)]
)
def test_values_that_are_negative_or_not_finite_are_refused(tmp_path: Path, kind: type, value: float):
    pixels = np.full((16, 16), 100, kind)
    pixels[3, 3] = value
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    with pytest.raises(Unreadable, match="gray with values below 0 or not finite"):
        decode_set(16, tmp_path / "a.tif")


def test_16_bit_color_is_read_if_all_bits_are_used_and_else_refused(tmp_path: Path):
    full = np.random.default_rng(0).integers(0, 65536, (16, 16, 3))
    image = decode_set(16, png16(tmp_path / "full.png", full))[0]
    assert np.array_equal(np.frombuffer(image.pixels, np.uint8).reshape(16, 16, 3), full >> 8)
    with pytest.raises(Unreadable, match="16-bit color of which not all 16 bits are used would be dark"):
        decode_set(16, png16(tmp_path / "dark.png", full >> 8))


def test_a_set_of_gray_images_has_one_channel(tmp_path: Path):
    values = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "gray.png")
    Image.fromarray(values).convert("LA").save(tmp_path / "alpha.png")
    gray = [tmp_path / "gray.png", tmp_path / "alpha.png"]
    assert [image.pixels for image in decode_set(16, *gray)] == [values.tobytes()] * 2
    assert len(decode_set(16, *gray, color(tmp_path))[0].pixels) == 3 * 16 * 16, "one color image: three channels"
