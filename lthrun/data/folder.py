"""Any folder of class folders: DIR/<class>/**/<image>."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from lthrun.data.datasets import DATASETS, Images, expand_dir
from lthrun.data.decoding import FORMATS
from lthrun.data.listing import list_folders, list_images
from lthrun.errors import UserError

if TYPE_CHECKING:
    from lthrun.config.sections import Data


@DATASETS.register("Your own images: data.dir/<class>/<image>, at any depth.", "folder")
def list_folder(settings: Data) -> Images:
    """The images under `settings.dir`.

    Raises:
        UserError: no folder is named, it cannot be read, has fewer than two classes, or a class has no images.
    """
    if settings.dir is None:
        raise UserError(
            "data.dir: found null; data.dataset: folder needs the folder that holds a folder of images for each "
            "class: name it with --data-dir DIR"
        )
    return label_by_folder("folder", expand_dir(settings.dir))


def label_by_folder(name: str, root: Path) -> Images:
    """The images below the folders in `root`, whose sorted names are the classes.

    A link to a folder is followed for a class but not further down.
    """
    skipped: Counter[str] = Counter()
    try:
        if not root.is_dir():
            reason = "is a file" if root.is_file() else "No such file or directory"
            raise UserError(f"data.dir: {root} cannot be read: {reason}; must be a folder of class folders")
        root = root.resolve()
        folders = list_folders(root, skipped)
        paths_by_class = [list_images(folder, skipped) for folder in folders]
    except OSError as error:
        raise UserError(f"data.dir: {error.filename or root} cannot be read: {error.strerror}") from None
    classes = tuple(folder.name for folder in folders)
    if len(classes) < 2:
        folders_here = f"one folder only, {classes[0]}," if classes else "no folders"
        raise UserError(
            f"data.dir: found {folders_here} in {root}; must hold two or more folders of images, each named as its "
            "class"
        )
    empty = [name for name, paths in zip(classes, paths_by_class, strict=True) if not paths]
    if empty:
        raise UserError(
            f"data.dir: found no images ({', '.join(FORMATS)}) in {len(empty)} of the "
            f"{len(classes)} folders of {root}: {', '.join(empty[:5])}{' …' if len(empty) > 5 else ''}"
        )
    labels = [label for label, paths in enumerate(paths_by_class) for _ in paths]
    return Images(name, root, [path for paths in paths_by_class for path in paths], labels, classes, skipped=skipped)
