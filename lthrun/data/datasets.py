"""The table of data sets, and what each says of itself: which images there are, and how they are labelled.

A data set is one function and its entry: the function gets the config's `data` section and lists the images. Decoding,
splitting and batching are the same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lthrun.errors import UserError, shorten
from lthrun.registry import Entry, Table


@dataclass(frozen=True)
class Download:
    """How a data set is fetched into the cache.

    Attributes:
        title: its name in messages.
        size: how much is transferred, for people.
        fetch: fetches it; raises UserError where that fails.
    """

    title: str
    size: str
    fetch: Callable[[], None]


@dataclass(frozen=True)
class DatasetEntry(Entry):
    """`make(settings)` lists the images of a data set (`Images`), given the config's data section.

    It raises MissingData where they are not on this machine and `download` could fetch them.
    """

    download: Download | None = None


DATASETS = Table("datasets", "data.dataset", DatasetEntry)


@dataclass(frozen=True)
class Images:
    """Which images there are, all below `folder`. `labels` are indices into `classes`, parallel to `paths`.

    Attributes:
        valid, test: the names of the data set's own validation and test images, where it has them: these are kept, and
            what it lacks is drawn from its other images.
        skipped: other files, counted by the reason for which they are none of its images.
    """

    name: str
    folder: Path
    paths: list[Path]
    labels: list[int]
    classes: tuple[str, ...]
    valid: frozenset[str] | None = None
    test: frozenset[str] | None = None
    skipped: Mapping[str, int] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The paths relative to `folder`, with forward slashes: an image's name in the store and in the split."""
        return [path.relative_to(self.folder).as_posix() for path in self.paths]


@contextmanager
def safe_download(title: str) -> Iterator[None]:
    """A failed download is reported in one line, and no member of an archive is unpacked outside its folder.

    Before Python 3.14 `tarfile` unpacks wherever a member's name points unless it has a filter, and torchvision sets
    none.
    """
    import tarfile
    from http.client import HTTPException

    before = tarfile.TarFile.extraction_filter
    tarfile.TarFile.extraction_filter = staticmethod(tarfile.data_filter)
    try:
        yield
    # No network, a wrong checksum, an archive that is damaged or would write outside its folder.
    except (OSError, RuntimeError, HTTPException, tarfile.TarError, EOFError) as error:
        raise UserError(
            f"data: the download of {title} failed ({error}); try again, or fetch it yourself and use --data-dir"
        ) from None
    finally:
        tarfile.TarFile.extraction_filter = before


def expand_dir(folder: str) -> Path:
    """`data.dir` as a path; ~ is the home directory."""
    try:
        return Path(folder).expanduser()
    except RuntimeError as error:
        raise UserError(f"data.dir: found {folder}; {error}") from None


def is_folder(path: Path) -> bool:
    """Whether `path` is a directory; one that may not be read, or whose name is impossible, is a UserError."""
    try:
        return path.is_dir()
    except OSError as error:
        raise UserError(f"data.dir: {shorten(str(path))} cannot be read: {error.strerror}") from None
