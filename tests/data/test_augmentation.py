"""Augmented batches against independent formulas, and that each image's view is a function of seed, epoch and image."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from lthrun.config.sections import Data
from lthrun.data import AUGMENTATIONS
from lthrun.data.batches import Batches
from lthrun.data.split import Split
from lthrun.data.store import Store
from lthrun.errors import UserError
from lthrun.experiments import load_config
from tests.data.samples import open_pets, stored_pixels

CPU = torch.device("cpu")
KERNEL = (1, 3, 3, 1)
SPLIT = Split([0, 1, 2, 3, 4, 5, 6], [7], [8])


def make_batches(pets_folder: Path, *names: str, seed: int = 0, **settings: object) -> tuple[Store, Batches]:
    data = Data(image_size=16, augmentation=names or ("none",), **settings)
    store = open_pets(pets_folder, data.stored_size)
    return store, Batches(store, SPLIT, data, 3, seed, CPU)


def bytes_of(picture: Tensor) -> np.ndarray:
    """[height, width, channels] as the store has them."""
    return (picture * 255).round().byte().permute(1, 2, 0).numpy()


def windows(image: np.ndarray, size: int) -> list[np.ndarray]:
    height, width = image.shape[:2]
    return [image[y : y + size, x : x + size] for y in range(height - size + 1) for x in range(width - size + 1)]


def test_flipped_images_are_mirrored_windows_in_half_of_the_cases(pets_folder: Path):
    _, plain = make_batches(pets_folder)
    _, flipped = make_batches(pets_folder, "flip")
    mirrored = []
    for step in range(100):
        for one, other in zip(plain.training_batch(step)[0], flipped.training_batch(step)[0], strict=True):
            assert torch.equal(one, other) or torch.equal(one.flip(2), other)
            mirrored.append(torch.equal(one.flip(2), other))
    assert 0.4 < np.mean(mirrored) < 0.6


def test_crops_are_windows_of_the_image_with_a_black_border(pets_folder: Path):
    store, batches = make_batches(pets_folder, "crop", crop_padding=3)
    padded = [np.pad(stored_pixels(store, i), ((3, 3), (3, 3), (0, 0))) for i in SPLIT.train]
    offsets = set()
    for step in range(60):
        for picture, label in zip(*batches.training_batch(step), strict=True):
            crop = bytes_of(picture)
            places = [
                (i, k)
                for i, image in enumerate(padded)
                for k, w in enumerate(windows(image, 16))
                if np.array_equal(w, crop)
            ]
            assert places and store.labels[places[0][0]] == int(label)
            if places[0][0] == store.names.index("dog_2.jpg"):  # a square
                offsets.add(divmod(places[0][1], 7))
    assert len(offsets) > 12 and {y for y, _ in offsets} == {x for _, x in offsets} == set(range(7))


def test_resized_crops_are_bilinear_windows_of_the_drawn_share_and_aspect(pets_folder: Path):
    store, batches = make_batches(pets_folder, "resized_crop", crop_scale=(0.25, 0.8))
    assert store.size == 32, "the smallest crop has as many pixels as the model sees"
    images, _, numbers = batches._draw(0, 0)
    for step in range(2):
        for k, picture in enumerate(batches.training_batch(step)[0], 3 * step):
            image = torch.tensor(stored_pixels(store, int(images[k]))).permute(2, 0, 1).float()
            height, width = image.shape[1:]
            share, aspect, down, across = numbers["resized_crop"][k].tolist()
            area, ratio = (0.25 + 0.55 * share) * height * width, math.exp((2 * aspect - 1) * math.log(4 / 3))
            h, w = min(height, math.sqrt(area / ratio)), min(width, math.sqrt(area * ratio))
            y = down * (height - h) + (torch.arange(16) + 0.5) * h / 16
            x = across * (width - w) + (torch.arange(16) + 0.5) * w / 16
            grid = torch.stack(torch.meshgrid(2 * y / height - 1, 2 * x / width - 1, indexing="ij")[::-1], 2)
            wanted = grid_sample(image[None], grid[None], padding_mode="border", align_corners=False)[0] / 255
            assert torch.allclose(picture, wanted, atol=1e-4)
            assert 3 / 4 - 0.01 <= w / h <= 4 / 3 + 0.01 or h == height or w == width


def test_validation_does_not_depend_on_augmentation_and_larger_images_are_reduced(pets_folder: Path):
    _, plain = make_batches(pets_folder)
    for names in (("flip",), ("crop",)):
        for side in ("train", "valid", "test"):
            for one, other in zip(
                plain.center_crops(side, 4), make_batches(pets_folder, *names)[1].center_crops(side, 4), strict=True
            ):
                assert torch.equal(one[0], other[0])
    store, batches = make_batches(pets_folder, "resized_crop", crop_scale=(0.25, 1.0))
    for side in ("valid", "test"):
        for i, picture in zip(getattr(SPLIT, side), next(batches.center_crops(side, 4))[0], strict=True):
            large = stored_pixels(store, i)
            y, x = ((s - 32 + 1) // 2 for s in large.shape[:2])
            square = large[y : y + 32, x : x + 32].astype(float)
            # Halved with antialiasing: weights 1, 3, 3, 1 of the four nearest rows and columns.
            padded = np.pad(square, ((1, 1), (1, 1), (0, 0)))
            weights = np.pad(np.ones((32, 32, 1)), ((1, 1), (1, 1), (0, 0)))
            total, norm = (
                sum(
                    a * b * v[r : r + 32 : 2, c : c + 32 : 2]
                    for r, a in enumerate(KERNEL)
                    for c, b in enumerate(KERNEL)
                )
                for v in (padded, weights)
            )
            assert np.abs(picture.permute(1, 2, 0).numpy() * 255 - total / norm).max() < 0.01


@pytest.mark.parametrize("names", [("flip",), ("crop",), ("resized_crop",), ("flip", "crop"), ("flip", "resized_crop")])
def test_views_are_a_function_of_seed_epoch_and_image(pets_folder: Path, names: tuple[str, ...]):
    (_, first), (_, second), (_, other) = (make_batches(pets_folder, *names, seed=seed) for seed in (0, 0, 1))
    torch.manual_seed(123)
    forwards = [first.training_batch(step)[0] for step in range(8)]
    torch.rand(5)
    backwards = [second.training_batch(step)[0] for step in reversed(range(8))][::-1]
    assert all(torch.equal(a, b) for a, b in zip(forwards, backwards, strict=True))
    assert any(not torch.equal(a, other.training_batch(step)[0]) for step, a in enumerate(forwards))
    for name in names:
        by_image = []
        for order in (0, 1):
            images, _, numbers = first._draw(3, order)
            by_image.append(dict(zip(images.tolist(), numbers[name].tolist(), strict=True)))
        assert by_image[0] == by_image[1], "another order of the images: the same numbers for each"
        assert by_image[0] != dict(zip(images.tolist(), first._draw(4, 1)[2][name].tolist(), strict=True))


def test_augmentations_do_not_change_each_others_draws_nor_does_their_order(pets_folder: Path):
    _, flip = make_batches(pets_folder, "flip")
    _, both = make_batches(pets_folder, "flip", "crop")
    _, reverse = make_batches(pets_folder, "crop", "flip")
    assert torch.equal(flip._draw(0, 0)[2]["flip"], both._draw(0, 0)[2]["flip"])
    assert torch.equal(flip._draw(0, 0)[1], make_batches(pets_folder)[1]._draw(0, 0)[1])
    assert torch.equal(both.training_batch(5)[0], reverse.training_batch(5)[0])


def test_normalized_training_images_have_mean_0_and_deviation_1(pets_folder: Path):
    _, plain = make_batches(pets_folder)
    _, batches = make_batches(pets_folder, normalize="dataset")
    images = torch.cat([images for images, _ in plain.center_crops("train", 4)])
    mean, deviation = images.mean((0, 2, 3)), images.std((0, 2, 3), correction=0)
    normalized = torch.cat([images for images, _ in batches.center_crops("train", 4)])
    assert torch.allclose(normalized.mean((0, 2, 3)), torch.zeros(3), atol=1e-4)
    assert torch.allclose(normalized.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-4)
    for (one, _), (other, _) in (
        (plain.training_batch(1), batches.training_batch(1)),
        (next(plain.validation_batches()), next(batches.validation_batches())),
    ):
        wanted = (one - mean.view(-1, 1, 1)) / deviation.view(-1, 1, 1)
        assert torch.allclose(other, wanted, atol=1e-4)


def test_level_keys_have_exactly_what_the_chosen_augmentations_read(pets_folder: Path):
    def facts(**settings: object) -> dict[str, object]:
        data = Data(image_size=16, **settings)
        return open_pets(pets_folder, data.stored_size).key_facts(SPLIT, data)

    plain = facts()
    assert plain == facts(crop_padding=9) == facts(crop_scale=(0.5, 0.9)) and set(plain) == {"images", "split", "test"}
    flip, crop, wide = (
        facts(augmentation=("flip",)),
        facts(augmentation=("crop",)),
        facts(augmentation=("crop",), crop_padding=9),
    )
    assert facts(augmentation=("flip",), crop_padding=9) == flip
    resized = [
        facts(augmentation=("resized_crop",), crop_scale=scale) for scale in ((0.25, 1.0), (0.25, 0.9), (0.5, 1.0))
    ]
    others = [plain, flip, crop, wide, *resized, facts(normalize="dataset"), facts(augmentation=("flip", "crop"))]
    assert all(one != other for i, one in enumerate(others) for other in others[:i])
    assert facts(augmentation=("flip", "crop")) == facts(augmentation=("crop", "flip"))


def test_each_augmentation_has_its_line():
    for entry in AUGMENTATIONS.values():
        assert entry.about and "\n" not in entry.about and set(entry.uses) <= set(Data.model_fields)


def test_an_experiment_with_augmentation(lthrun, pets_folder: Path):
    done = lthrun(
        "baseline", "--model", "resnet20", "--data-dir", pets_folder.parent, "--set", "data.image_size=16", "--epochs", "1",
        "--set", "training.batch_size=2", "--set", "data.augmentation=[flip, resized_crop]", "--set", "data.normalize=dataset",
        "--set", "data.validation=40",
    )  # fmt: skip
    assert done.status == 0, done.err
    with pytest.raises(UserError, match="crop does not go with resized_crop"):
        load_config(None, "ticket", options={"data.augmentation": ["crop", "resized_crop"]})
