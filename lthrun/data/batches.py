"""Device-resident batches: gathered, cropped and scaled on the device, straight from the store.

An epoch decodes nothing, starts no worker and handles no image in Python: a batch is one gather of pixels at computed
positions.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import torch
from torch import Tensor

from lthrun.data.store import Store
from lthrun.rng import make_generator


class Batches:
    """Batches of one split, as (images, labels) on `device`.

    Images are float32 [batch, channels, size, size] in channels-last layout, 0 to 1; labels are int64 [batch].
    """

    def __init__(
        self,
        store: Store,
        train: list[int],
        valid: list[int],
        batch_size: int,
        seed: int,
        device: torch.device,
    ):
        self.size, self.channels = store.size, store.channels
        self.batch_size, self.seed, self.device = batch_size, seed, device
        self.valid_counts = [sum(store.labels[i] == c for i in valid) for c in range(len(store.classes))]
        self.n_train, self.n_valid = len(train), len(valid)
        self.epoch_steps = len(train) // batch_size
        count = store.pixels.stat().st_size
        flat = torch.from_file(str(store.pixels), shared=False, size=count, dtype=torch.uint8)
        self._pixels = flat.view(-1, store.channels).to(device)
        heights, widths = torch.tensor(store.heights), torch.tensor(store.widths)
        areas = heights * widths
        self._starts = (areas.cumsum(0) - areas).to(device)
        self._widths = widths.to(device)
        self._room = torch.stack([heights, widths], 1).sub(store.size).to(device)
        self._labels = torch.tensor(store.labels).to(device)
        self._train, self._valid = torch.tensor(train, device=device), torch.tensor(valid, device=device)
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

    def center_crops(self, split: str, batch_size: int, most: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """The images of `train` or `valid` once, center-cropped, in batches of nearly equal size.

        All of them, or `most` at even intervals: images are stored by class, so that each class keeps its share.
        """
        images = self._train if split == "train" else self._valid
        if most is not None and most < len(images):
            images = images[torch.arange(most, device=self.device) * len(images) // most]
        for part in images.tensor_split(-(-len(images) // batch_size)):
            yield self._gather(part, torch.full((len(part),), 0.5, device=self.device))

    def validation_batches(self, most: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """The validation images in center crops; without gradients a batch can be four times as large."""
        return self.center_crops("valid", 4 * self.batch_size, most)

    def _draw_epoch(self, epoch: int, order: int = 0) -> tuple[Tensor, Tensor]:
        """Order and crop positions (0 to 1 along the longer side) of an epoch."""
        position = (epoch, order) if order else (epoch,)
        permutation = torch.randperm(self.n_train, generator=make_generator(self.seed, "order", *position))
        places = torch.rand(self.n_train, generator=make_generator(self.seed, "augmentation", epoch))
        return self._train[self._to_device(permutation)], self._to_device(places)

    def _to_device(self, drawn: Tensor) -> Tensor:
        """The tensor on the device, without waiting for the copy."""
        return drawn.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else drawn

    def _gather(self, images: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Crops of the images [batch] at `places` (0 to 1) along their longer sides, with their labels."""
        room = self._room[images]
        # Room is zero along the shorter side. A place just below 1 may round up to it, hence the minimum.
        corner = (places.unsqueeze(1) * (room + 1)).long().minimum(room)
        first = self._starts[images] + corner[:, 0] * self._widths[images] + corner[:, 1]
        positions = first.view(-1, 1, 1) + self._rows * self._widths[images].view(-1, 1, 1) + self._columns
        pixels = self._pixels[positions.view(-1)].view(*positions.shape, -1)
        return pixels.permute(0, 3, 1, 2).float().div_(255), self._labels[images]
