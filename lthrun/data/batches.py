"""Device-resident batches: gathered, augmented and scaled on the device, straight from the store.

An epoch decodes nothing, starts no worker and handles no image in Python: a batch is one gather of pixels at computed
positions.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from lthrun.config.sections import Data
from lthrun.data.augmentation import AUGMENTATIONS, View
from lthrun.data.split import Split
from lthrun.data.store import Store
from lthrun.rng import make_generator


@lru_cache(maxsize=2)
def load_pixels(path: Path, size: int, written: int, device: torch.device) -> Tensor:
    """The `size` bytes of a file that was `written` at that time (ns), on a device: once for all runs of a process."""
    return torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8).to(device)


class Batches:
    """Batches of the sides of a split, as (images, labels) on `device`.

    Images are float32 [batch, channels, size, size] in channels-last layout, 0 to 1 if not normalized; labels are
    int64 [batch].
    """

    def __init__(self, store: Store, split: Split, settings: Data, batch_size: int, seed: int, device: torch.device):
        self.size, self.channels, self.settings = settings.image_size, store.channels, settings
        self.batch_size, self.seed, self.device = batch_size, seed, device
        self.valid_counts, self.test_counts = store.count_classes(split.valid), store.count_classes(split.test)
        self.n_train, self.n_valid, self.n_test = map(len, split)
        self.epoch_steps = len(split.train) // batch_size
        file = store.pixels.stat()
        self._pixels = load_pixels(store.pixels, file.st_size, file.st_mtime_ns, device).view(-1, store.channels)
        heights, widths = torch.tensor(store.heights), torch.tensor(store.widths)
        areas = heights * widths
        self._starts = (areas.cumsum(0) - areas).to(device)
        self._sides = torch.stack([heights, widths], 1).to(device)
        self._stored = store.size
        # Images that need no crop are gathered whole, which is ten times as fast as pixel by pixel.
        is_square = bool((heights == store.size).all() and (widths == store.size).all())
        self._squares = self._pixels.view(-1, store.size, store.size, store.channels) if is_square else None
        self._labels = torch.tensor(store.labels).to(device)
        self._images = {side: torch.tensor(ids, device=device) for side, ids in split._asdict().items()}
        # In the order of the table, so that the order in the config does not matter.
        self._augmentations = [name for name in AUGMENTATIONS if name in settings.augmentation and name != "none"]
        self._draw = lru_cache(maxsize=2)(self._draw_epoch)
        self._norm = self._measure_norm() if settings.normalize == "dataset" else None

    def training_batch(self, step: int, order: int = 0) -> tuple[Tensor, Tensor]:
        """The batch of a training step, counted from initialization: a function of seed, step and order alone.

        Another `order` is another draw of the order of the images; the augmentation streams stay.
        """
        epoch, within = divmod(step, self.epoch_steps)
        images, places, numbers = self._draw(epoch, order)
        chosen = slice(within * self.batch_size, (within + 1) * self.batch_size)
        images = images[chosen]
        if self._squares is not None and not self._augmentations:
            return self._scale(self._squares.index_select(0, images)), self._labels.index_select(0, images)
        view = self._square(images, places[chosen], self.size)
        for name in self._augmentations:
            view = AUGMENTATIONS[name](view, numbers[name][chosen], self.settings)
        sample = self._interpolate if view.rows.is_floating_point() else self._gather
        return self._scale(sample(images, view, "crop" in self._augmentations)), self._labels[images]

    def center_crops(self, side: str, batch_size: int, most: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """The images of `train`, `valid` or `test` once, center-cropped, in batches of nearly equal size: of two or
        more images, as batch norm needs where its input is one pixel wide.

        All of them, or `most` at even intervals: images are stored by class, so that each class keeps its share.
        """
        images = self._images[side]
        if most is not None and most < len(images):
            images = images[torch.arange(most, device=self.device) * len(images) // most]
        parts = max(1, min(-(-len(images) // batch_size), len(images) // 2))
        for part in images.tensor_split(parts):
            yield self._scale(self._center(part)), self._labels[part]

    def test_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self.center_crops("test", 4 * self.batch_size)

    def validation_batches(self, most: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """The validation images in center crops; without gradients a batch can be four times as large."""
        return self.center_crops("valid", 4 * self.batch_size, most)

    def _draw_epoch(self, epoch: int, order: int = 0) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Of an epoch the images in order, positions along the longer side (0 to 1), and the augmentations' numbers.

        The numbers belong to the image; the positions, to its place in the order.
        """
        position = (epoch, order) if order else (epoch,)
        permutation = torch.randperm(self.n_train, generator=make_generator(self.seed, "order", *position))
        places = torch.rand(self.n_train, generator=make_generator(self.seed, "augmentation", epoch))
        numbers = {}
        for name in self._augmentations:
            generator = make_generator(self.seed, f"augmentation/{name}", epoch)
            drawn = torch.rand(self.n_train, AUGMENTATIONS[name].draws, generator=generator)
            numbers[name] = self._to_device(drawn[permutation])
        return self._images["train"][self._to_device(permutation)], self._to_device(places), numbers

    def _to_device(self, drawn: Tensor) -> Tensor:
        """The tensor on the device, without waiting for the copy."""
        return drawn.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else drawn

    def _square(self, images: Tensor, places: Tensor, size: int) -> View:
        """The view of squares of `size` pixels at `places` (0 to 1) along the longer sides of images [batch]."""
        sides = self._sides[images]
        room = sides - size
        # Room is zero along the shorter side. A place just below 1 may round up to it, hence the minimum.
        corner = (places.unsqueeze(1) * (room + 1)).long().minimum(room)
        side = torch.arange(size, device=self.device)
        return View(corner[:, :1] + side, corner[:, 1:] + side, sides[:, :1], sides[:, 1:])

    def _gather(self, images: Tensor, view: View, is_padded: bool) -> Tensor:
        """The pixels of a view in whole coordinates, uint8 [batch, size, size, channels]."""
        within = self._clamp(view) if is_padded else view
        lines = self._starts[images].unsqueeze(1) + within.rows * view.width
        positions = lines.unsqueeze(2) + within.columns.unsqueeze(1)
        pixels = self._pixels[positions.view(-1)].view(*positions.shape, -1)
        if is_padded:
            is_row, is_column = within.rows == view.rows, within.columns == view.columns
            pixels *= (is_row.unsqueeze(2) & is_column.unsqueeze(1)).unsqueeze(3)
        return pixels

    def _interpolate(self, images: Tensor, view: View, _: bool) -> Tensor:
        """The pixels of a view between whole coordinates, bilinear, float32 [batch, size, size, channels]."""
        top, left = view.rows.floor(), view.columns.floor()
        down, across = (view.rows - top).view(len(images), -1, 1, 1), (view.columns - left).view(len(images), 1, -1, 1)
        corners = []
        for below in (0, 1):
            for right in (0, 1):
                corner = view._replace(rows=top.long() + below, columns=left.long() + right)
                corners.append(self._gather(images, self._clamp(corner), False).float())
        upper, lower = (left.lerp(right, across) for left, right in (corners[:2], corners[2:]))
        return upper.lerp(lower, down)

    def _clamp(self, view: View) -> View:
        """The view with what lies outside of an image moved to its edge."""
        rows, columns = view.rows.clamp(min=0), view.columns.clamp(min=0)
        return view._replace(rows=rows.minimum(view.height - 1), columns=columns.minimum(view.width - 1))

    def _center(self, images: Tensor) -> Tensor:
        """The central squares of images, [batch, size, size, channels], reduced where they are stored larger."""
        if self._squares is None:
            view = self._square(images, torch.full((len(images),), 0.5, device=self.device), self._stored)
            pixels = self._gather(images, view, False)
        else:
            pixels = self._squares.index_select(0, images)
        if self._stored == self.size:
            return pixels
        large = pixels.permute(0, 3, 1, 2).float()
        return interpolate(large, (self.size, self.size), mode="bilinear", antialias=True).permute(0, 2, 3, 1)

    def _scale(self, pixels: Tensor) -> Tensor:
        """Pixels [batch, size, size, channels] as the model gets them."""
        images = pixels.permute(0, 3, 1, 2).float().div_(255)
        return images if self._norm is None else images.sub_(self._norm[0]).div_(self._norm[1])

    def _measure_norm(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel over the training images' center crops, 0 to 1, [channels, 1, 1].

        From sums of whole numbers, so that they are the same on every device.
        """
        sums = torch.zeros(2, self.channels, dtype=torch.int64, device=self.device)
        for part in self._images["train"].tensor_split(-(-self.n_train // 1024)):
            values = self._center(part).round().long()
            sums += torch.stack([values.sum((0, 1, 2)), (values * values).sum((0, 1, 2))])
        mean, square = sums.cpu().double() / (self.n_train * self.size**2 * 255)
        deviation = (square / 255 - mean * mean).clamp(min=1 / 255**2).sqrt()
        return tuple(value.float().view(-1, 1, 1).to(self.device) for value in (mean, deviation))
