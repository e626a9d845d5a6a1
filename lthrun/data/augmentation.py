"""What training images are varied by: which pixels of a stored image become those of a batch, and in which order.

A view of an image is a row for each row of the batch's image and a column for each column: whole numbers where pixels
are taken as they are, others where they are interpolated. An augmentation turns one view into another by numbers that
are drawn per image and epoch, from a stream of its own: what an image looks like in an epoch depends on the seed, the
epoch and the image, not on its place in the order nor on the other augmentations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from lthrun.registry import Entry, Table

if TYPE_CHECKING:
    from torch import Tensor

    from lthrun.config.sections import Data

ASPECT = 4 / 3  # of resized_crop: from 3:4 to 4:3, as in torchvision


@dataclass(frozen=True)
class AugmentationEntry(Entry):
    """`make(view, numbers, settings)` returns the view of the augmented images.

    Attributes:
        draws: how many numbers it needs per image and epoch, each uniform from 0 to 1: `numbers` is [batch, draws].
    """

    draws: int = 0


AUGMENTATIONS = Table("augmentations", "data.augmentation", AugmentationEntry)


class View(NamedTuple):
    """Where the pixels of a batch come from.

    Attributes:
        rows, columns: coordinates in the stored images, [batch, size], int64 or float32; those outside an image are
            black.
        height, width: of the stored images, int64 [batch, 1].
    """

    rows: Tensor
    columns: Tensor
    height: Tensor
    width: Tensor


@AUGMENTATIONS.register("The square, at random along the longer side, as it is.", "none")
def keep(view: View, numbers: Tensor, settings: Data) -> View:
    return view


@AUGMENTATIONS.register("Half of the images are mirrored left to right.", draws=1)
def flip(view: View, numbers: Tensor, settings: Data) -> View:
    return view._replace(columns=view.columns.flip(1).where(numbers < 0.5, view.columns))


@AUGMENTATIONS.register(
    "The square is moved by up to crop_padding pixels each way; what lies outside the image is black.",
    uses=("crop_padding",),
    draws=2,
)
def crop(view: View, numbers: Tensor, settings: Data) -> View:
    shifts = (numbers * (2 * settings.crop_padding + 1)).long().clamp(max=2 * settings.crop_padding)
    shifts -= settings.crop_padding
    return view._replace(rows=view.rows + shifts[:, :1], columns=view.columns + shifts[:, 1:])


@AUGMENTATIONS.register(
    "A window of a random share of the image (crop_scale) and aspect (3:4 to 4:3), resized to the square.",
    uses=("crop_scale",),
    draws=4,
)
def resized_crop(view: View, numbers: Tensor, settings: Data) -> View:
    """As torchvision's RandomResizedCrop; but a window that does not fit is cut to the image, not drawn again."""
    import torch

    low, high = settings.crop_scale
    share, aspect, down, across = numbers.unsqueeze(2).unbind(1)
    area = (low + (high - low) * share) * (view.height * view.width)
    ratio = torch.exp((2 * aspect - 1) * math.log(ASPECT))  # width to height
    height, width = (area / ratio).sqrt().minimum(view.height), (area * ratio).sqrt().minimum(view.width)
    centers = (torch.arange(view.rows.shape[1], device=numbers.device) + 0.5) / view.rows.shape[1]
    rows = down * (view.height - height) + centers * height - 0.5
    columns = across * (view.width - width) + centers * width - 0.5
    return view._replace(rows=rows, columns=columns)
