"""The embedded data set: cat-like and dog-like faces, drawn rather than downloaded.

Experiments have to run without a network, so this draws JPEG files named as in Oxford-IIIT Pet: cat breeds start with
an upper-case letter, dog breeds do not, 2,400 cats to 4,990 dogs. What a face looks like is in lthrun.data.portraits.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lthrun.data.datasets import DATASETS, Images
from lthrun.data.pets import label_by_name
from lthrun.errors import UserError
from lthrun.storage.files import cache_dir
from lthrun.storage.locks import atomic_folder

if TYPE_CHECKING:
    from lthrun.config.sections import Data

VERSION = 1  # raised when a pixel would change: cached copies are then drawn again
COUNT = 1200

CATS = """Abyssinian Bengal Birman Bombay British_Shorthair Egyptian_Mau Maine_Coon Persian Ragdoll Russian_Blue
    Siamese Sphynx""".split()
DOGS = """american_bulldog american_pit_bull_terrier basset_hound beagle boxer chihuahua english_cocker_spaniel
    english_setter german_shorthaired great_pyrenees havanese japanese_chin keeshond leonberger miniature_pinscher
    newfoundland pomeranian pug saint_bernard samoyed scottish_terrier shiba_inu staffordshire_bull_terrier
    wheaten_terrier yorkshire_terrier""".split()
CAT_SHARE = 2400 / 7390


@DATASETS.register("The embedded set: 1,200 drawn faces, cat-like and dog-like; no download.", "synthetic")
def list_synthetic(settings: Data) -> Images:
    """The drawn images in the cache; the first call draws them.

    Raises:
        UserError: `data.dir` is set.
    """
    if settings.dir is not None:
        raise UserError(
            "--data-dir goes with data.dataset: pets, cifar10, mnist or folder; the embedded set is drawn, not read"
        )
    images = cache_dir() / f"synthetic-{VERSION}" / "images"
    with atomic_folder(images) as folder:
        if folder is not None:
            draw_images(folder)
    return label_by_name("synthetic", images)


def draw_images(folder: Path, count: int = COUNT) -> None:
    """Write `count` JPEG files into `folder`; image i depends on i alone.

    Cats are dealt among the dogs evenly, and the images of a species to its breeds in turn: `Breed_number.jpg`.
    """
    import numpy as np

    from lthrun.data.portraits import draw_portrait, photograph

    for index in range(count):
        rng = np.random.default_rng([0, index])
        cats, next_cats = round(index * CAT_SHARE), round((index + 1) * CAT_SHARE)
        breeds, place = (CATS, cats) if next_cats > cats else (DOGS, index - cats)
        image = photograph(rng, draw_portrait(rng, dog=breeds is DOGS))
        name = f"{breeds[place % len(breeds)]}_{place // len(breeds) + 1}.jpg"
        image.save(folder / name, quality=int(rng.integers(60, 95)))
