"""Read train/<class>/* and test/<class>/*, PNG or JPEG pictures in a folder or an archive, as arrays."""

from __future__ import annotations

import collections
import io
import itertools
import pathlib
import struct

import numpy as np
from PIL import Image

from utils.data.sources import CLASSES, Images
from utils.data.sources.archives import read_files
from utils.errors import DataError

SIZE = (32, 32)
SPLITS = ("train", "test")
PICTURES = (".png", ".jpg", ".jpeg")
UNREADABLE = (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)
BAD_SHARE = 0.01  # if a larger fraction of the pictures is unusable, an error is raised
LARGEST = 50_000_000  # the largest number of pixels of a picture
LAYOUT = "Expected train/<class>/* and test/<class>/* with the same classes in both."
CIFAR10_LAYOUT = (
    "load_cifar10 reads train/<class>/* and test/<class>/* of the ten classes " + ", ".join(CLASSES) + ". "
    "For your own images, with any classes, use load_images(folder)."
)


def read_image_folder(path, classes=None):
    """Decode all pictures; return (Images, [(file, reason) of each unusable one], class names).

    If classes are given (CIFAR-10's), other folders raise an error and only pictures of 32 x 32 pixels are used.
    Otherwise every folder is a class, and a picture of another size is cropped to its middle square and resized to
    32 x 32.
    """
    pictures, set_aside, names = {}, [], set()
    # One after the other: with small pictures, threads wait for each other (30 % slower with two), and worker processes
    # would fail in a student's script without the line `if __name__ == "__main__"`.
    for name, content in _pictures(path, classes):
        reason = _misplaced(name)
        if reason is None:
            names.add(_split_and_class(name)[1])
            pixels, reason = _decode(name, content, resize=classes is None)
        if reason is None:
            pictures[_split_and_class(name) + (name,)] = pixels
        else:
            set_aside.append((name.encode(errors="replace").decode(), reason))  # without characters that print rejects
    if classes is None:
        classes = tuple(sorted(names))
    _check(path, pictures, set_aside, classes)
    images = Images(*(array for split in SPLITS for array in _gather(pictures, split, classes)))
    return images, sorted(set_aside), classes


def _files(path):
    """Yield (name, bytes) of all files in an archive, or below a folder's train/ and test/."""
    path = pathlib.Path(path)
    if path.is_file():
        yield from read_files(path)
        return
    for split in SPLITS:
        if (path / split).is_dir():
            for name, content in read_files(path / split):
                yield f"{split}/{name}", content


def _split_and_class(name):
    """Return (split, class) of a file such as any/folders/train/cat/1.png, or None for files in other places."""
    parts = _parts(name)
    return (parts[-3], parts[-2]) if len(parts) >= 3 and parts[-3] in SPLITS else None


def _misplaced(name):
    """Return the reason if a picture below train/ or test/ is not in a class's folder; None for all other files."""
    *folders, file = _parts(name) or [""]
    if _split_and_class(name) or not file.lower().endswith(PICTURES) or not set(folders).intersection(SPLITS):
        return None
    return "beside the classes' folders" if folders[-1] in SPLITS else "deeper than in its class's folder"


def _parts(name):
    """Split a file's path into its parts; return [] for a hidden file or one that an operating system created."""
    parts = name.removeprefix("./").split("/")
    hidden = any(part.startswith((".", "__MACOSX")) for part in parts)
    return [] if hidden or parts[-1] in ("Thumbs.db", "desktop.ini") else parts


def _pictures(path, classes):
    """Yield (name, bytes) of each file that is, or should be, in a class's folder; raise an error for other classes."""
    roots = set()
    for name, content in _files(path):
        split_and_class = _split_and_class(name)
        if split_and_class is None:
            if _misplaced(name):
                yield name, content
            continue
        if classes is not None and split_and_class[1] not in classes:
            what = f"'{split_and_class[1]}' is not one of CIFAR-10's classes."
            raise DataError(what, where=f"{path}: {name}", next_step=CIFAR10_LAYOUT)
        roots.add(name.rsplit("/", 3)[0] if name.count("/") > 2 else "")
        if len(roots) > 1:
            raise DataError("It contains more than one train/ or test/.", where=f"{path}: {name}", next_step=LAYOUT)
        yield name, content


def _decode(name, content, resize=False):
    """Return (uint8 (32, 32, 3), None), or (None, the reason why it can't be used)."""
    if not name.lower().endswith(PICTURES):
        return None, "not a PNG or JPEG file by its name"
    try:
        picture = Image.open(io.BytesIO(content), formats=("PNG", "JPEG"))
    except UNREADABLE:
        return None, "not a PNG or JPEG picture" if content else "an empty file"
    with picture:
        if reason := _unusable(picture, resize):
            return None, reason
        try:
            rgb = picture if picture.mode == "RGB" else picture.convert("RGB")
            square = rgb if rgb.size == SIZE else middle_square(rgb).resize(SIZE, Image.Resampling.LANCZOS)
            return np.asarray(square), None
        except UNREADABLE:
            return None, "damaged: it begins like a picture but cannot be decoded"


def middle_square(picture):
    """Return the largest square in the middle of a picture."""
    side = min(picture.size)
    left, top = ((length - side) // 2 for length in picture.size)
    return picture.crop((left, top, left + side, top + side))


def _unusable(picture, resize):
    """Return the reason why a picture can't be used, or None; only its header is read, even of a huge picture."""
    width, height = picture.size
    if not resize and picture.size != SIZE:
        return f"{width} x {height} pixels instead of 32 x 32"
    if width * height > LARGEST:
        return f"{width} x {height} pixels, more than {LARGEST // 10**6} million"
    if picture.mode.startswith(("I", "F")) or any("16" in str(tile[3]) for tile in picture.tile):
        return "16 bits per channel instead of 8"
    if getattr(picture, "is_animated", False):
        return "an animation"
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        return "has transparent pixels"
    if picture.mode not in ("RGB", "L", "P"):
        return f"colours stored as {picture.mode} instead of RGB"
    return None


def _check(path, pictures, set_aside, classes):
    """Raise an error unless every class has pictures in both splits and nearly all pictures can be used."""
    counts = collections.Counter(key[:2] for key in pictures)
    if not pictures and not set_aside:
        raise DataError("There is no picture here.", where=path, next_step=LAYOUT)
    if len(set_aside) > max(1, BAD_SHARE * len(pictures)):
        examples = "; ".join(f"{name}: {reason}" for name, reason in sorted(set_aside)[:3])
        raise DataError(
            f"{len(set_aside):,} of {len(set_aside) + len(pictures):,} pictures cannot be used ({examples}).",
            where=path,
            next_step="Repair or remove them. Only a few unusable pictures are left out without an error.",
        )
    if len(classes) < 2:
        raise DataError("There are fewer than two classes here.", where=path, next_step=LAYOUT)
    for split, name in itertools.product(SPLITS, classes):
        if not counts[split, name]:
            raise DataError(f"Class '{name}' has no picture in {split}/.", where=path, next_step=LAYOUT)


def _gather(pictures, split, classes):
    keys = sorted(key for key in pictures if key[0] == split)
    labels = np.array([classes.index(key[1]) for key in keys], dtype=np.int64)
    images = np.stack([pictures[key] for key in keys])
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)), labels
