"""Device-resident batches: gathered, cropped and scaled on the device, straight from the store.

An epoch decodes nothing, starts no worker and handles no image in Python: a batch is one gather of pixels at computed
positions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from lthrun.data.split import Split
from lthrun.data.store import Store
from lthrun.rng import make_generator


@lru_cache(maxsize=2)
def load_pixels(path: Path, size: int, written: int, device: torch.device) -> Tensor:
    """The `size` bytes of a file that was `written` at that time (ns), on a device: once for all runs of a process."""
    return torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8).to(device)


class Batches:
    """Batches of the sides of a split, as (images, labels) on `device`.

    Images are float32 [batch, channels, size, size] in channels-last layout, 0 to 1; labels are int64 [batch].
    """

    def __init__(
        self,
        store: Store,
        split: Split,
        batch_size: int,
        seed: int,
        device: torch.device,
    ):
        self.size, self.channels = store.size, store.channels
        self.batch_size, self.seed, self.device = batch_size, seed, device
        self.valid_counts, self.test_counts = (
            [counts[c] for c in range(len(store.classes))]
            for counts in (Counter(store.labels[i] for i in side) for side in (split.valid, split.test))
        )
        self.n_train, self.n_valid, self.n_test = map(len, split)
        self.epoch_steps = len(split.train) // batch_size
        file = store.pixels.stat()
        self._pixels = load_pixels(store.pixels, file.st_size, file.st_mtime_ns, device).view(-1, store.channels)
        heights, widths = torch.tensor(store.heights), torch.tensor(store.widths)
        areas = heights * widths
        self._starts = (areas.cumsum(0) - areas).to(device)
        self._widths = widths.to(device)
        # Images that need no crop are gathered whole, which is ten times as fast as pixel by pixel.
        is_square = bool((heights == store.size).all() and (widths == store.size).all())
        self._squares = self._pixels.view(-1, store.size, store.size, store.channels) if is_square else None
        self._room = torch.stack([heights, widths], 1).sub(store.size).to(device)
        self._labels = torch.tensor(store.labels).to(device)
        self._images = {side: torch.tensor(ids, device=device) for side, ids in split._asdict().items()}
        side = torch.arange(store.size, device=device)
        self._rows, self._columns = side.view(1, -1, 1), side.view(1, 1, -1)
        self._draw = lru_cache(maxsize=2)(self._draw_epoch)

    def training_batch(self, step: int, order: int = 0) -> tuple[Tensor, Tensor]:
        """The batch of a training step, counted from initialization: a function of seed, step and order alone.

        Another `order` is another draw of the order of the images; the augmentation stream stays.
        """
        epoch, within = divmod(step, self.epoch_steps)
        images, places = self._draw(epoch, order)
        chosen = slice(within * self.batch_size, (within + 1) * self.batch_size)
        return self._gather(images[chosen], places[chosen])

    def center_crops(self, side: str, batch_size: int, most: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """The images of `train`, `valid` or `test` once, center-cropped, in batches of nearly equal size.

        All of them, or `most` at even intervals: images are stored by class, so that each class keeps its share.
        """
        images = self._images[side]
        if most is not None and most < len(images):
            images = images[torch.arange(most, device=self.device) * len(images) // most]
        for part in images.tensor_split(-(-len(images) // batch_size)):
            yield self._gather(part, torch.full((len(part),), 0.5, device=self.device))

    def test_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The test images in center crops."""
        return self.center_crops("test", 4 * self.batch_size)

    def validation_batches(self, most: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """The validation images in center crops; without gradients a batch can be four times as large."""
        return self.center_crops("valid", 4 * self.batch_size, most)

    def _draw_epoch(self, epoch: int, order: int = 0) -> tuple[Tensor, Tensor]:
        """Order and crop positions (0 to 1 along the longer side) of an epoch."""
        position = (epoch, order) if order else (epoch,)
        permutation = torch.randperm(self.n_train, generator=make_generator(self.seed, "order", *position))
        places = torch.rand(self.n_train, generator=make_generator(self.seed, "augmentation", epoch))
        return self._images["train"][self._to_device(permutation)], self._to_device(places)

    def _to_device(self, drawn: Tensor) -> Tensor:
        """The tensor on the device, without waiting for the copy."""
        return drawn.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else drawn

    def _gather(self, images: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Crops of the images [batch] at `places` (0 to 1) along their longer sides, with their labels."""
        if self._squares is not None:
            return self._squares[images].permute(0, 3, 1, 2).float().div_(255), self._labels[images]
        room = self._room[images]
        # Room is zero along the shorter side. A place just below 1 may round up to it, hence the minimum.
        corner = (places.unsqueeze(1) * (room + 1)).long().minimum(room)
        first = self._starts[images] + corner[:, 0] * self._widths[images] + corner[:, 1]
        positions = first.view(-1, 1, 1) + self._rows * self._widths[images].view(-1, 1, 1) + self._columns
        pixels = self._pixels[positions.view(-1)].view(*positions.shape, -1)
        return pixels.permute(0, 3, 1, 2).float().div_(255), self._labels[images]
