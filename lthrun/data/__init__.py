"""Data sets by name. A new one is one function that says which images there are, and one line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lthrun.data import pets, synthetic

if TYPE_CHECKING:
    from lthrun.config import Data
    from lthrun.data.pets import Images

DATASETS: dict[str, Callable[[Data], Images]] = {"pets": pets.images, "synthetic": synthetic.images}
