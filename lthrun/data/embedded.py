"""temporary"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lthrun.data.pets import Images, in_folder
from lthrun.data.synthetic import VERSION, draw
from lthrun.errors import UserError
from lthrun.storage import cache_dir, new_folder

if TYPE_CHECKING:
    from lthrun.config import Data


def images(settings: Data) -> Images:
    """The drawn images, drawn now if they are not in the cache.

    Raises:
        UserError: a folder is named, which only makes sense for images that are not drawn.
    """
    if settings.dir is not None:
        raise UserError(f"--data-dir goes with data.dataset: pets; found {settings.dir} with data.dataset: synthetic")
    folder = cache_dir() / f"synthetic-{VERSION}" / "images"
    with new_folder(folder) as missing:
        if missing is not None:
            draw(missing)
    return in_folder("synthetic", folder)
