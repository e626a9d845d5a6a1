"""Any folder of class folders, DIR/<class>/**/<image>, or of the sides of a split, DIR/train/<class>/**/<image>."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lthrun.data.datasets import DATASETS, Images, expand_dir
from lthrun.data.listing import FORMATS, list_folders, list_images
from lthrun.errors import UserError, list_names

if TYPE_CHECKING:
    from lthrun.config.sections import Data


SIDES = {
    "train": "train", "training": "train", "val": "valid", "valid": "valid", "validation": "valid", "test": "test",
    "testing": "test",
}  # fmt: skip


@DATASETS.register("Your own images: data.dir/<class>/<image>, or split into data.dir/train and val or test.", "folder")
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


def label_by_folder(name: str, root: Path, only: Sequence[str] = ()) -> Images:
    """The images below the folders in `root`, whose sorted names are the classes.

    Where these folders are the sides of a split, DIR/train/<class> beside DIR/val/<class>, DIR/test/<class> or both,
    the split is kept. A link to a folder is followed for a side or a class but not further down. Of the folders in
    `root` those that are not in `only` are left out, if it names any.
    """
    skipped: Counter[str] = Counter()
    try:
        if not root.is_dir():
            reason = "is a file" if root.is_file() else "No such file or directory"
            raise UserError(f"data.dir: {root} cannot be read: {reason}; must be a folder of class folders")
        root = root.resolve()
        folders = [folder for folder in list_folders(root, skipped) if not only or folder.name in only]
        sides = name_sides(root, folders) or {"train": root}
        by_side = {}
        for side, place in sides.items():
            if place != root:
                folders = list_folders(place, skipped)
            by_side[side] = {folder.name: list_images(folder, skipped) for folder in folders}
    except OSError as error:
        raise UserError(f"data.dir: {error.filename or root} cannot be read: {error.strerror}") from None
    train = sides["train"]
    check_classes(train, by_side["train"])
    classes = tuple(by_side["train"])
    for side, place in sides.items():
        unknown = sorted(set(by_side[side]) - set(classes))
        if unknown:
            raise UserError(f"data.dir: found classes in {place} that {train} has not: {list_names(unknown)}")
    listed = [(side, c, path) for side, found in by_side.items() for c, paths in found.items() for path in paths]
    images = Images(name, root, [path for *_, path in listed], [classes.index(c) for _, c, _ in listed], classes)
    own = {
        side: frozenset(n for n, (of, *_) in zip(images.names, listed, strict=True) if of == side)
        for side in ("valid", "test")
        if any(by_side.get(side, {}).values())
    }
    return replace(images, valid=own.get("valid"), test=own.get("test"), skipped=skipped)


def name_sides(root: Path, folders: list[Path]) -> dict[str, Path]:
    """The folders of train, valid and test, if folders of such names are all that there is.

    Raises:
        UserError: they are, and they make no split.
    """
    sides: dict[str, Path] = {}
    here = ", ".join(folder.name for folder in folders)
    for folder in folders:
        side = SIDES.get(folder.name.lower())
        if side is None or len(folders) < 2:
            return {}
        if side in sides:
            raise UserError(f"data.dir: found {here} in {root}; two of them are the {side} images: leave one out")
        sides[side] = folder
    if folders and "train" not in sides:
        raise UserError(f"data.dir: found {here} in {root}, a split without its folder train; must be beside them")
    return dict(sorted(sides.items(), key=lambda side: ("train", "valid", "test").index(side[0])))


def check_classes(folder: Path, images: Mapping[str, Sequence[Path]]) -> None:
    """Refuse training images of fewer than two classes, and a class without images."""
    if len(images) < 2:
        here = f"one folder only, {next(iter(images))}," if images else "no folders"
        raise UserError(
            f"data.dir: found {here} in {folder}; must hold two or more folders of images, each named as its class"
        )
    empty = [name for name, paths in images.items() if not paths]
    if empty:
        raise UserError(
            f"data.dir: found no images ({', '.join(FORMATS)}) in {len(empty)} of the {len(images)} folders of "
            f"{folder}: {list_names(empty)}"
        )
