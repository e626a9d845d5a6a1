"""Data sets by name. A new one is one function that says which images there are, and one line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lthrun.data import cifar, folder, pets, synthetic

if TYPE_CHECKING:
    from lthrun.config.sections import Data
    from lthrun.data.images import Images

DATASETS: dict[str, Callable[[Data], Images]] = {
    "pets": pets.images,
    "cifar10": cifar.images,
    "folder": folder.images,
    "synthetic": synthetic.images,
}


@dataclass(frozen=True)
class Download:
    """What can be fetched, how large it is, and the function that fetches it into the cache."""

    title: str
    size: str
    fetch: Callable[[], None]


DOWNLOADS = {
    "pets": Download("Oxford-IIIT Pet", "800 MB", pets.download),
    "cifar10": Download("CIFAR-10", "170 MB", cifar.download),
}
