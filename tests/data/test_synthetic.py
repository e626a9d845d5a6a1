"""The embedded data set."""

from __future__ import annotations

from pathlib import Path

import pytest

from lthrun.config.sections import Data
from lthrun.data import synthetic
from lthrun.errors import UserError


def test_drawn_images_are_reproducible_and_in_the_class_ratio_of_pets(tmp_path: Path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        synthetic.draw_images(tmp_path / name, 40)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "b").iterdir()) and len(names) == 40
    assert sum(name[0].isupper() for name in names) == round(40 * 2400 / 7390)
    assert all((tmp_path / "a" / n).read_bytes() == (tmp_path / "b" / n).read_bytes() for n in names)


def test_the_embedded_set_takes_no_data_dir(tmp_path: Path):
    with pytest.raises(UserError, match="--data-dir goes with data.dataset: pets"):
        synthetic.list_synthetic(Data(dataset="synthetic", dir=str(tmp_path)))
