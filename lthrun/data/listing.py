"""Which files of a folder are images, and which are skipped and why.

A file is an image if its content is one of the formats that are read, whatever its suffix. A file whose suffix promises
an image is listed unopened: if it cannot be decoded, it is reported as unreadable rather than skipped. What file
managers, cameras and archives leave between the images is skipped, and every skipped file is counted by its reason.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF")  # Pillow reads more, and runs Ghostscript for one
SUFFIXES = {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".avif",
}  # fmt: skip
LITTER_FOLDERS = {
    "@eadir", "#recycle", "@recycle", "@recently-snapshot", "$recycle.bin", "__macosx", "__pycache__",
    "system volume information", "lost+found",
}  # fmt: skip
THUMBNAIL_FOLDERS = {"thumbs", "thumbnails", "_thumbs", "_thumbnails"}
"""Litter too, but among the classes they may be a class."""
LITTER_FILES = {"thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r"}


def list_images(folder: Path, skipped: Counter[str], deep: bool = True) -> list[Path]:
    """The images in `folder`, and if `deep` in its folders at any depth, sorted.

    Adds to `skipped` the number of other files by reason. Links to folders are not followed, so that circular links
    end.

    Raises:
        OSError: a folder cannot be read.
    """

    def fail(error: OSError) -> None:
        raise error

    paths = []
    for place, folders, files in os.walk(folder, onerror=fail):
        for name in list(folders):
            path = Path(place, name)
            reason = litter_reason(name, nested=True)
            if path.is_symlink():
                reason = "links to folders"
            elif not deep and reason is None:
                if path.suffix.lower() in SUFFIXES:  # its name promises an image: unreadable, not skipped
                    paths.append(path)
                reason = "in folders among the images"
            if reason:
                folders.remove(name)
                skipped[reason] += 1 if path.is_symlink() else sum(len(inner) for _, _, inner in os.walk(path))
        for name in files:
            path = Path(place, name)
            reason = litter_reason(name)
            if reason is None and path.suffix.lower() not in SUFFIXES and not is_image(path):
                reason = f"not an image ({path.suffix.lower() or 'no suffix'})"
            if reason:
                skipped[reason] += 1
            else:
                paths.append(path)
    return sorted(paths)


def list_folders(root: Path, skipped: Counter[str]) -> list[Path]:
    """The folders in `root`, links to folders included, sorted; litter and files are counted in `skipped`."""
    folders = []
    for path in sorted(root.iterdir()):
        reason = litter_reason(path.name)
        if path.is_dir() and reason is None:
            folders.append(path)
        elif path.is_dir():
            skipped[str(reason)] += sum(len(inner) for _, _, inner in os.walk(path))
        else:
            skipped[reason or "outside the class folders"] += 1
    return folders


def litter_reason(name: str, nested: bool = False) -> str | None:
    """Why a file or folder of that name is not part of a data set, if so; `nested` is of a folder inside a class."""
    if name.startswith("."):
        return "hidden"
    lower = name.lower()
    if lower in LITTER_FOLDERS | LITTER_FILES or (nested and lower in THUMBNAIL_FOLDERS):
        return f"thumbnails and system files ({name.strip()})"
    return None


def is_image(path: Path) -> bool:
    """Whether a regular file's header is that of a format that is read."""
    from PIL import Image

    try:
        if not path.is_file():
            return False
        with Image.open(path, formats=FORMATS):
            return True
    except Exception:  # Pillow raises nearly anything on other files
        return False
