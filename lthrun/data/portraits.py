"""Drawn portraits of cat-like and dog-like faces: the images of the embedded data set (lthrun.data.synthetic).

The task must be neither trivial nor hopeless. Every trait that separates the species (ears, muzzle, nose, eyes,
whiskers, tongue) therefore overlaps between them, and none decides alone; everything else (colors, background, pose,
light, size, compression) comes from one distribution for both, and is no shortcut.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

SPREAD = 0.3  # how far a trait strays from its species, as a share of the distance between the species
ODD_EARS = 0.12  # share of dogs with pointed ears, and of cats with floppy ones

Array = NDArray[np.float64]
Points = Array | Sequence[tuple[float, float]]

ORANGE, GRAY, BLACK, CREAM = (226, 150, 80), (120, 122, 130), (45, 42, 44), (236, 230, 220)
FURS = np.array([ORANGE, GRAY, BLACK, CREAM, (125, 84, 54), (214, 184, 140)])
IRISES = np.array([(150, 190, 70), (225, 175, 50), (110, 180, 215), (190, 120, 40)])
DARK, PINK, WHITE = np.array([28, 22, 22]), np.array([226, 130, 135]), np.array([250, 250, 250])
ANGLES = np.linspace(0, 2 * np.pi, 24, endpoint=False)
CIRCLE = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)


def rotate(points: Points, angle: float) -> Array:
    cos, sin = np.cos(angle), np.sin(angle)
    rotated: Array = np.asarray(points) @ np.array([[cos, sin], [-sin, cos]])
    return rotated


def oval(x: float, y: float, width: float, height: float, tilt: float = 0.0) -> Array:
    """The outline of an ellipse given by its center, half axes and tilt in radians."""
    outline: Array = rotate(CIRCLE * np.array([width, height]), tilt) + np.array([x, y])
    return outline


class Brush:
    """Draws on an image in face units: the head has radius 1 around the origin, y points down."""

    def __init__(self, rng: Generator, image: Image.Image) -> None:
        self.canvas = ImageDraw.Draw(image)
        self.scale = min(image.size) * rng.uniform(0.3, 0.38)
        self.angle = rng.normal(0, 0.22)
        self.center = np.array(image.size) * rng.uniform(0.45, 0.55, 2)

    def fill(self, color: Array, points: Points) -> None:
        self.canvas.polygon(self.place(points), fill=ink(color))

    def line(self, color: Array, points: Points, width: float) -> None:
        self.canvas.line(self.place(points), fill=ink(color), width=max(1, round(width * self.scale)))

    def place(self, points: Points) -> list[float]:
        placed: list[float] = (rotate(points, self.angle) * self.scale + self.center).ravel().tolist()
        return placed


def ink(color: Array) -> tuple[int, ...]:
    return tuple(color.clip(0, 255).astype(int).tolist())


def draw_portrait(rng: Generator, dog: bool) -> Image.Image:
    """A face in front of a background, at twice its final size so that halving it smooths the edges."""
    image = draw_backdrop(rng)
    brush = Brush(rng, image)

    def lean(cat_like: float, dog_like: float) -> float:
        return cat_like + (dog_like - cat_like) * (dog + rng.normal(0, SPREAD))

    fur, second = FURS[rng.choice(len(FURS), 2, replace=False)] + rng.normal(0, 14, (2, 3))
    ear_fur = fur if rng.random() < 0.5 else second
    wide, tall = lean(1.0, 0.88), lean(0.86, 1.0)
    x, y = rng.normal(0, 0.1), rng.normal(0, 0.06)  # where the face points

    brush.fill(0.85 * fur, oval(0, 1.75, rng.uniform(0.8, 1.2), 1.2))
    floppy = rng.random() < (1 - ODD_EARS if dog else ODD_EARS)
    if not floppy:
        draw_pointed_ears(rng, brush, ear_fur, wide, tall)
    brush.fill(fur, oval(0, 0, wide, tall))
    draw_markings(rng, brush, fur, second, wide, tall)
    if floppy:
        draw_floppy_ears(rng, brush, ear_fur, wide, tall)
    draw_eyes(rng, brush, x, y, size=lean(0.22, 0.14), slit=min(1.0, max(0.0, lean(1, 0))))
    if rng.random() < (0.35 if dog else 0.05):
        brush.fill(PINK, oval(1.4 * x, y + 0.8, 0.13, 0.24))
    draw_snout(rng, brush, fur, x, y, size=max(0.18, lean(0.27, 0.46)), nose=max(0.06, lean(0.09, 0.19)))
    if rng.random() < (0.25 if dog else 0.85):
        draw_whiskers(rng, brush, x, y)
    if rng.random() < 0.25:
        draw_obstacle(rng, brush)
    return image


def draw_backdrop(rng: Generator) -> Image.Image:
    """A few random colors, enlarged: one row or column gives stripes, more give tiles or clouds."""
    short = int(rng.integers(80, 109))
    aspect = rng.uniform(1, 4 / 3) if rng.random() < 0.92 else rng.uniform(4 / 3, 1.75)
    size = (2 * short, 2 * min(160, round(short * aspect)))
    rows, columns = rng.integers(1, 7, 2)
    contrast = rng.normal(0, rng.uniform(5, 35), (rows, columns, 1))
    cells = rng.uniform(50, 205, 3) + contrast + rng.normal(0, 15, (rows, columns, 3))
    enlarge = Image.Resampling.BILINEAR if rng.random() < 0.5 else Image.Resampling.NEAREST
    small = Image.fromarray(np.clip(cells, 0, 255).astype(np.uint8))
    return small.resize(size if rng.random() < 0.5 else size[::-1], enlarge)


def draw_pointed_ears(rng: Generator, brush: Brush, fur: Array, wide: float, tall: float) -> None:
    inside, tip = 0.5 * fur + 0.5 * PINK, rng.uniform(1.35, 1.7) * tall
    for side in (-wide, wide):
        brush.fill(fur, [(0.97 * side, -0.15), (0.85 * side, -tip), (0.15 * side, -0.9 * tall)])
        brush.fill(inside, [(0.85 * side, -0.4), (0.8 * side, -0.85 * tip), (0.4 * side, -0.8 * tall)])


def draw_floppy_ears(rng: Generator, brush: Brush, fur: Array, wide: float, tall: float) -> None:
    length, spread = rng.uniform(0.4, 0.65), rng.uniform(0.1, 0.5)
    for side in (-1, 1):
        ear = oval(side * (wide + 0.02), length - 0.75 * tall, 0.25, length, -side * spread)
        brush.fill(0.8 * fur, ear)


def draw_markings(rng: Generator, brush: Brush, fur: Array, second: Array, wide: float, tall: float) -> None:
    """Patches of a second color, stripes on the forehead, and tufts that give the fur a texture."""
    for _ in range(rng.integers(0, 3)):
        x, y, width, height, tilt = rng.uniform((-0.5, -0.5, 0.2, 0.2, 0), (0.5, 0.3, 0.42, 0.42, 3))
        brush.fill(second, oval(x * wide, y * tall, width, height, tilt))
    if rng.random() < 0.4:
        for x in (-0.22, 0.0, 0.22):
            brush.line(0.6 * fur, [(x, -0.85 * tall), (0.7 * x, -0.5 * tall)], 0.08)
    for x, y, shade in rng.uniform((-0.65, -0.65, 0.75), (0.65, 0.65, 1.2), (14, 3)):
        brush.line(shade * fur, [(x * wide, y * tall), (1.15 * x * wide, 1.15 * y * tall + 0.08)], 0.03)


def draw_eyes(rng: Generator, brush: Brush, x: float, y: float, size: float, slit: float) -> None:
    """Between a colored iris with an upright slit (`slit` 1) and a round dark eye (`slit` 0)."""
    iris = slit * IRISES[rng.integers(len(IRISES))] + (1 - slit) * 2 * DARK
    for eye in (x - 0.4, x + 0.4):
        brush.fill(DARK, oval(eye, y - 0.12, 1.2 * size, 1.1 * size))
        brush.fill(iris, oval(eye, y - 0.12, size, 0.92 * size))
        brush.fill(DARK, oval(eye, y - 0.12, size * (0.7 - 0.45 * slit), 0.8 * size))
        brush.fill(WHITE, oval(eye + 0.3 * size, y - 0.12 - 0.35 * size, 0.22 * size, 0.22 * size))


def draw_snout(rng: Generator, brush: Brush, fur: Array, x: float, y: float, size: float, nose: float) -> None:
    """Two cheeks, a nose and a smile; a larger snout protrudes, so it follows the gaze further."""
    x, y = x * (1 + size), y + 0.2
    for side in (-0.5, 0.5):
        brush.fill(0.5 * fur + 0.5 * WHITE, oval(x + side * size, y + 0.7 * size, 0.75 * size, 0.9 * size))
    for side in (-0.6, 0.6):
        cheek, corner = (x + 0.5 * side * size, y + 1.15 * size), (x + side * size, y + 0.95 * size)
        brush.line(DARK, [(x, y + nose), (x, y + size), cheek, corner], 0.04)
    brush.fill(0.8 * PINK if rng.random() < 0.4 else DARK, oval(x, y, 1.2 * nose, 0.85 * nose))


def draw_whiskers(rng: Generator, brush: Brush, x: float, y: float) -> None:
    color = WHITE if rng.random() < 0.7 else DARK
    for side in (-1, 1):
        for slope in (-0.12, 0.03, 0.18):
            brush.line(color, [(x + 0.25 * side, y + 0.42), (x + 1.15 * side, y + 0.4 + slope)], 0.025)


def draw_obstacle(rng: Generator, brush: Brush) -> None:
    """What hides a part of the face: a post or a ball."""
    (x, y), color = rng.uniform(-1, 1, 2), rng.uniform(20, 235, 3)
    if rng.random() < 0.5:
        brush.line(color, rotate([(x, -9), (x, 9)], rng.uniform(0, 3)), 0.25)
    else:
        brush.fill(color, oval(x, y, 0.3, 0.3))


def photograph(rng: Generator, image: Image.Image) -> Image.Image:
    """The image at its final size, unevenly lit, a little out of focus and grainy."""
    photo = image.reduce(2).filter(ImageFilter.BoxBlur(rng.uniform(0, 1.3)))
    rows, columns = np.linspace(-1, 1, photo.height)[:, None], np.linspace(-1, 1, photo.width)
    light = rng.uniform(0.7, 1.15) + rng.normal(0, 0.2) * rows + rng.normal(0, 0.2) * columns
    grain = rng.standard_normal(light.shape, dtype=np.float32) * np.float32(rng.uniform(3, 18))
    lit = np.asarray(photo) * light.astype(np.float32)[..., None] + grain[..., None]
    return Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8))
