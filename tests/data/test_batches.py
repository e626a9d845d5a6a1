"""Batches: crops, order, and that both are functions of the seed and the step."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lthrun.config.sections import Data
from lthrun.data.batches import Batches, load_pixels
from lthrun.data.split import Split
from lthrun.data.store import Store
from tests.data.samples import open_folder, open_pets, stored_pixels

CPU = torch.device("cpu")


def make_batches(pets_folder: Path, seed: int = 0, size: int = 16) -> tuple[Store, Batches]:
    store = open_pets(pets_folder, size)
    return store, Batches(store, Split([0, 1, 2, 3, 4, 5, 6], [7], [8]), Data(image_size=size), 3, seed, CPU)


def test_training_crops_are_windows_along_the_longer_side(pets_folder: Path):
    store, batches = make_batches(pets_folder)
    seen: Counter[int] = Counter()
    for step in range(60):
        pictures, labels = batches.training_batch(step)
        assert pictures.shape == (3, 3, 16, 16) and pictures.is_contiguous(memory_format=torch.channels_last)
        for picture, label in zip(pictures, labels, strict=True):
            crop = (picture * 255).round().byte().permute(1, 2, 0).numpy()
            windows = [
                (i, x, y)
                for i in range(7)
                for y in range(store.heights[i] - 15)
                for x in range(store.widths[i] - 15)
                if np.array_equal(stored_pixels(store, i)[y : y + 16, x : x + 16], crop)
            ]
            assert windows and int(label) == store.labels[windows[0][0]]
            seen[windows[0]] += 1
    assert len({x for i, x, _ in seen if i == store.names.index("Cat_3.jpg")}) > 10, "crops move along the longer side"
    assert {0, 48} & {x for i, x, _ in seen if i == store.names.index("Cat_3.jpg")} or len(seen) > 30


def test_an_epoch_has_no_image_twice_and_drops_the_last_incomplete_batch(pets_folder: Path):
    _, batches = make_batches(pets_folder)
    assert batches.epoch_steps == 2
    for epoch in range(5):
        images, _, _ = batches._draw(epoch, 0)
        assert sorted(images.tolist()) == [0, 1, 2, 3, 4, 5, 6]


def test_batches_are_a_function_of_seed_and_step_alone(pets_folder: Path):
    (_, first), (_, second), (_, other) = (
        make_batches(pets_folder),
        make_batches(pets_folder),
        make_batches(pets_folder, seed=1),
    )
    torch.manual_seed(123)
    forwards = [first.training_batch(step) for step in range(8)]
    torch.rand(5)
    backwards = [second.training_batch(step) for step in reversed(range(8))][::-1]
    for (a, b), (c, d) in zip(forwards, backwards, strict=True):
        assert torch.equal(a, c) and torch.equal(b, d)
    assert any(not torch.equal(first.training_batch(s)[0], other.training_batch(s)[0]) for s in range(8))
    assert not torch.equal(first.training_batch(0)[0], first.training_batch(2)[0]), "epochs differ"


def test_validation_center_crops_every_image_once(pets_folder: Path):
    store, batches = make_batches(pets_folder)
    for split, wanted in (("valid", [7]), ("test", [8]), ("train", list(range(7)))):
        shown = list(batches.center_crops(split, 3))
        pictures, labels = torch.cat([p for p, _ in shown]), torch.cat([n for _, n in shown])
        assert labels.tolist() == [store.labels[i] for i in wanted]
        for picture, i in zip(pictures, wanted, strict=True):
            image = stored_pixels(store, i)
            y, x = (round((side - 16) / 2 + 1e-9) for side in image.shape[:2])
            crop = (picture * 255).round().byte().permute(1, 2, 0).numpy()
            assert np.array_equal(crop, image[y : y + 16, x : x + 16])
    assert [len(labels) for _, labels in batches.center_crops("train", 3)] == [3, 2, 2], (
        "no batch of one image for batch norm"
    )


def test_values_are_scaled_to_one(pets_folder: Path):
    _, batches = make_batches(pets_folder)
    pictures, _ = batches.training_batch(0)
    assert pictures.dtype == torch.float32 and pictures.min() >= 0 and 0.9 < pictures.max() <= 1


def test_the_images_are_loaded_once_per_process_and_again_when_they_change(pets_folder: Path):
    load_pixels.cache_clear()
    store, first = make_batches(pets_folder)
    second = make_batches(pets_folder, seed=1)[1]
    assert first._pixels.data_ptr() == second._pixels.data_ptr() and load_pixels.cache_info().misses == 1
    os.utime(store.pixels, ns=(0, store.pixels.stat().st_mtime_ns + 1))
    assert make_batches(pets_folder)[1]._pixels.data_ptr() != first._pixels.data_ptr()


def test_each_side_counts_its_images_by_class(pets_folder: Path):
    store, batches = make_batches(pets_folder)
    assert (batches.n_train, batches.n_valid, batches.n_test) == (7, 1, 1)
    assert batches.valid_counts == [int(store.labels[7] == c) for c in (0, 1)]
    assert batches.test_counts == [int(store.labels[8] == c) for c in (0, 1)]
    assert [labels.tolist() for _, labels in batches.test_batches()] == [[store.labels[8]]]


def test_gray_images_keep_their_one_channel(tmp_path: Path):
    for c, name in enumerate(("bright", "dark")):
        (tmp_path / name).mkdir()
        for i in range(6):
            values = np.random.default_rng([c, i]).integers(0, 256, (16, 16), dtype=np.uint8)
            Image.fromarray(values).save(tmp_path / name / f"{i}.png")
    store = open_folder(tmp_path)
    batches = Batches(store, Split(list(range(10)), [10], [11]), Data(image_size=16), 4, 0, CPU)
    assert store.channels == batches.channels == 1
    pictures, _ = batches.training_batch(0)
    assert pictures.shape == (4, 1, 16, 16)
    shown = {(picture * 255).round().byte().numpy().tobytes() for picture in pictures}
    assert shown <= {stored_pixels(store, i).tobytes() for i in range(10)}


def test_no_batch_of_center_crops_has_a_single_image(pets_folder: Path):
    """Batch norm cannot estimate the variance of one value, where its input is one pixel wide."""
    _, batches = make_batches(pets_folder)
    for size in (2, 3, 4, 6, 7, 64):
        lengths = [len(labels) for _, labels in batches.center_crops("train", size)]
        assert sum(lengths) == 7 and min(lengths) >= 2 and max(lengths) <= max(size, 3)
    assert [len(labels) for _, labels in batches.center_crops("valid", 4)] == [1]
