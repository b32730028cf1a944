"""Find out what a path holds, read it by its kind, and name it honestly."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from utils.data.sources import CLASSES, Images, archives, cache, official, pictures
from utils.errors import DataError


class Found(NamedTuple):
    """What was read: kind of source, name for titles, images, (file, reason) of each picture left out, class names."""

    source: str
    name: str
    images: Images
    set_aside: tuple = ()
    classes: tuple = CLASSES


def find(path):
    """Return what at this path can be read, or None: official files go before pictures, pictures before archives."""
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
        raise DataError(f"There is more than one archive: {names}.", where=path, next_step="Name the one you mean.")
    return others[0] if others else None


def read_root(path):
    """Read CIFAR-10 from the path that the user pointed at, and never from anywhere else."""
    readable = find(path)
    if readable is None:
        raise DataError(
            "It holds nothing that can be read as CIFAR-10." if path.exists() else "It does not exist.",
            where=f"root or CIFAR10_ROOT = {path}",
            next_step="Name a folder with the official archive, its extracted batches, or train/<class>/ and "
            'test/<class>/ pictures (or an archive of those); leave it empty to download; or use source="synthetic".',
        )
    return read(readable)


def read(path):
    """Read as CIFAR-10 what `find` found."""
    if path.name in official.BATCHES and path.is_dir():
        return Found("official", "CIFAR-10", official.read_batches(path))
    if path.name in official.ARCHIVES:
        return Found("official", "CIFAR-10", official.read_archive(path))
    images, notes = _decoded(path, CLASSES)
    return Found("image folder", picture_name(path, images, notes["formats"]), images, notes["set_aside"])


def read_own(path):
    """Read the user's own image folder or archive, whatever its classes are."""
    readable = None if path.name in official.BATCHES else find(path)
    if readable is None or readable.name in (*official.BATCHES, *official.ARCHIVES):
        raise DataError(
            "There are no train/<class>/ and test/<class>/ folders here, and no archive of such folders."
            if path.exists()
            else "It does not exist.",
            where=path,
            next_step="Put each picture into train/<its class>/ or test/<its class>/. For CIFAR-10, use load_cifar10.",
        )
    images, notes = _decoded(readable, None)
    return Found("image folder", f"images of {path.name}", images, notes["set_aside"], tuple(notes["classes"]))


def _decoded(path, classes):
    """Return (Images, notes) of an image folder, from the cache if it was decoded before."""
    key = pictures.content_hash(path)
    if classes is None:
        key += "-any-class"  # the same files may be read both ways, and pictures of other sizes are used in one only
    images, notes = cache.remember(key, functools.partial(_decode, path, classes))
    notes["set_aside"] = tuple((file, reason) for file, reason in notes["set_aside"])
    return images, notes


def _decode(path, classes):
    print(f"Decoding the pictures of {path.name}. This happens once: the result is kept for next time.")
    images, set_aside, formats, classes = pictures.read_image_folder(path, classes)
    return images, {"set_aside": set_aside, "formats": formats, "classes": classes}


def picture_name(path, images, formats):
    """Name an image folder for titles: never plain CIFAR-10, for its pixels cannot be checked against the original."""
    whole = all(
        np.array_equal(np.bincount(labels, minlength=10), np.full(10, count))
        for labels, count in ((images.train_labels, 5000), (images.test_labels, 1000))
    )
    if whole and formats == ["JPEG"]:
        return "JPEG copies of CIFAR-10"
    return f"CIFAR-10 from image folder {path.name}" if whole else f"part of CIFAR-10 from image folder {path.name}"
