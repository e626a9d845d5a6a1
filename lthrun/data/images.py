"""What every data set says of itself: which images there are, and how they are labelled."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from lthrun.errors import UserError, shorten

FAILURES = (OSError, RuntimeError, HTTPException, tarfile.TarError, EOFError)
"""What a download and its unpacking end with: no network, a wrong sum, an archive that is damaged or would lead
out of its folder."""


@dataclass(frozen=True)
class Images:
    """Which images there are, all below `folder`. `labels` are indices into `classes`, parallel to `paths`.

    A data set with a split of its own names its validation images in `held_out` (see `names`); `data.validation`
    and `data.split_seed` then do not apply.
    """

    name: str
    folder: Path
    paths: list[Path]
    labels: list[int]
    classes: tuple[str, ...]
    held_out: frozenset[str] | None = None

    @property
    def names(self) -> list[str]:
        """The paths relative to `folder`, with forward slashes: what an image is called in the store and the split."""
        return [path.relative_to(self.folder).as_posix() for path in self.paths]


@contextmanager
def fetching(title: str) -> Iterator[None]:
    """What goes wrong with a download is said in one line; no member of an archive leaves the folder it is unpacked in.

    Before Python 3.14 `tarfile` unpacks wherever a member's name says, unless it is given a filter, and torchvision
    gives it none.
    """
    before = tarfile.TarFile.extraction_filter
    tarfile.TarFile.extraction_filter = staticmethod(tarfile.data_filter)
    try:
        yield
    except FAILURES as error:
        raise UserError(
            f"data: the download of {title} failed ({error}); try again, or fetch it yourself and use --data-dir"
        ) from None
    finally:
        tarfile.TarFile.extraction_filter = before


def given(folder: str) -> Path:
    """`data.dir` as a path; ~ is the home directory."""
    try:
        return Path(folder).expanduser()
    except RuntimeError as error:
        raise UserError(f"data.dir: found {folder}; {error}") from None


def is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:  # it may not be looked at, or no file can have that name
        raise UserError(f"data.dir: {shorten(str(path))} cannot be read: {error.strerror}") from None
