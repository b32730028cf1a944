"""Find the images at a path, read them, and name them: only the official files are called CIFAR-10."""

from __future__ import annotations

import pathlib
from typing import NamedTuple

from utils.data.sources import CLASSES, Images, archives, official, pictures
from utils.errors import DataError

ATTACHED = pathlib.Path("/kaggle/input")  # where Kaggle shows the data sets that are attached to a notebook
DEEPEST = 3  # folders between it and the images


class Found(NamedTuple):
    """Images that were read: kind of source, name for titles, (file, reason) of each picture left out, class names."""

    source: str
    name: str
    images: Images
    set_aside: tuple = ()
    classes: tuple = CLASSES


def find(path):
    """Return the folder or archive at this path that can be read, or None.

    If there are several, official files are preferred to pictures, and pictures to archives.
    """
    if path.is_file():
        return path if archives.is_archive(path) else None
    for folder in (path, *(path / name for name in official.BATCHES)):
        if folder.name in official.BATCHES and folder.is_dir():
            return folder
    for name in official.ARCHIVES:
        if (path / name).is_file():
            return path / name
    if all((path / split).is_dir() for split in pictures.SPLITS):
        return path
    others = sorted(file for file in path.glob("*") if file.is_file() and archives.is_archive(file))
    if len(others) > 1:
        names = ", ".join(file.name for file in others[:5])
        what = f"There is more than one archive: {names}."
        raise DataError(what, where=path, next_step="Give the path of one archive.")
    return others[0] if others else None


def find_attached():
    """Return the official files in a data set that is attached to a notebook on Kaggle, or None; folders come first."""
    for depth in range(DEEPEST + 1):
        for path in sorted(ATTACHED.glob("*/" * depth + "cifar-10-*")):
            if path.name in (official.BATCHES if path.is_dir() else official.ARCHIVES):
                return path
    return None


def read_root(path):
    """Read CIFAR-10 from the path that the user gave, and from no other place."""
    readable = find(path)
    if readable is None:
        raise DataError(
            "It contains nothing that can be read as CIFAR-10." if path.exists() else "It does not exist.",
            where=f"root or CIFAR10_ROOT = {path}",
            next_step="Give a folder with the official archive, its extracted batches, or train/<class>/ and "
            'test/<class>/ pictures (or an archive of those); leave it empty to download; or use source="synthetic".',
        )
    return read(readable)


def read(path):
    """Read a folder or archive that `find` returned, as CIFAR-10."""
    if path.name in official.BATCHES and path.is_dir():
        return Found("official", "CIFAR-10", official.read_batches(path))
    if path.name in official.ARCHIVES:
        return Found("official", "CIFAR-10", official.read_archive(path))
    images, set_aside, _ = pictures.read_image_folder(path, CLASSES)
    return Found("image folder", f"CIFAR-10 from image folder {path.name}", images, tuple(set_aside))


def read_own(path):
    """Read the user's own image folder or archive, with any classes."""
    readable = None if path.name in official.BATCHES else find(path)
    if readable is None or readable.name in (*official.BATCHES, *official.ARCHIVES):
        raise DataError(
            "There are no train/<class>/ and test/<class>/ folders here, and no archive of such folders."
            if path.exists()
            else "It does not exist.",
            where=path,
            next_step="Put each picture into train/<class>/ or test/<class>/. For CIFAR-10, use load_cifar10.",
        )
    images, set_aside, classes = pictures.read_image_folder(readable)
    return Found("image folder", f"images of {path.name}", images, tuple(set_aside), classes)
