"""Any folder of class folders: DIR/<class>/**/<image>."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from lthrun.data.images import Images, given
from lthrun.errors import UserError

if TYPE_CHECKING:
    from lthrun.config.sections import Data

SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff")


def images(settings: Data) -> Images:
    """Your own images: data.dir/<class>/<image>, at any depth.

    Raises:
        UserError: no folder was given, it cannot be read, has fewer than two classes, or a class has no images.
    """
    if settings.dir is None:
        raise UserError(
            "data.dir: found null; data.dataset: folder needs the folder that holds a folder of images for each "
            "class: name it with --data-dir DIR"
        )
    return in_folder("folder", given(settings.dir))


def in_folder(name: str, root: Path) -> Images:
    """The images below the folders in `root`, whose sorted names are the classes.

    Hidden files and folders and files of another suffix are passed over. A link to a folder is followed for a
    class, not further down, so that links in a circle come to an end.
    """
    try:
        if not root.is_dir():
            there = "is a file" if root.is_file() else "No such file or directory"
            raise UserError(f"data.dir: {root} cannot be read: {there}; must be a folder of class folders")
        root = root.resolve()
        folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
        found = [below(folder) for folder in folders]
    except OSError as error:
        raise UserError(f"data.dir: {error.filename or root} cannot be read: {error.strerror}") from None
    classes = tuple(folder.name for folder in folders)
    if len(classes) < 2:
        there = f"one folder only, {classes[0]}," if classes else "no folders"
        raise UserError(
            f"data.dir: found {there} in {root}; must hold two or more folders of images, each named as its class"
        )
    empty = [folder.name for folder, paths in zip(folders, found, strict=True) if not paths]
    if empty:
        raise UserError(
            f"data.dir: found no images (files ending in {', '.join(SUFFIXES)}) in {len(empty)} of the "
            f"{len(classes)} folders of {root}: {', '.join(empty[:5])}{' …' if len(empty) > 5 else ''}"
        )
    labels = [label for label, paths in enumerate(found) for _ in paths]
    return Images(name, root, [path for paths in found for path in paths], labels, classes)


def below(folder: Path) -> list[Path]:
    """The images in `folder` and its folders, sorted."""

    def stop(error: OSError) -> None:
        raise error

    paths = []
    for place, inner, files in os.walk(folder, onerror=stop):
        inner[:] = [name for name in inner if not name.startswith(".")]
        shown = [name for name in files if not name.startswith(".") and name.lower().endswith(SUFFIXES)]
        paths += [Path(place, name) for name in shown]
    return sorted(paths)
