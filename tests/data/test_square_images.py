"""Images that need no crop are gathered whole: the same batches as pixel by pixel."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import torch

from tests.bench.small_network import draw_images, prepare_batches


def test_whole_images_are_those_gathered_pixel_by_pixel(tmp_path: Path):
    draw_images(tmp_path)
    with ExitStack() as stack:
        batches = prepare_batches(tmp_path, stack)
    assert batches._squares is not None
    whole = [batches.training_batch(step) for step in (0, 1, 41)] + list(batches.validation_batches())
    batches._squares = None
    by_pixel = [batches.training_batch(step) for step in (0, 1, 41)] + list(batches.validation_batches())
    for (images, labels), (expected, expected_labels) in zip(whole, by_pixel, strict=True):
        assert torch.equal(images, expected) and torch.equal(labels, expected_labels)
        assert images.stride() == expected.stride()
