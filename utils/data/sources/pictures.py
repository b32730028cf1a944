"""Owns image folders: train/<class>/* and test/<class>/* as PNG or JPEG, in a folder or an archive, to arrays."""

from __future__ import annotations

import collections
import hashlib
import io
import itertools
import os
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
BAD_SHARE = 0.01  # more unusable pictures than this, and the folder itself is in doubt
LAYOUT = "Expected train/<class>/* and test/<class>/* for the ten classes " + ", ".join(CLASSES) + "."


def content_hash(path):
    """Hash an archive, or a folder's train/ and test/, wherever it lies, whatever it is called: sha256, hexadecimal."""
    path = pathlib.Path(path)
    if path.is_file():
        with path.open("rb") as file:
            digest = hashlib.sha256()
            while block := file.read(2**20):
                digest.update(block)
        return digest.hexdigest()
    digest = hashlib.sha256()
    for name, content in _files(path):
        digest.update(hashlib.sha256(os.fsencode(name)).digest() + hashlib.sha256(content).digest())
    return digest.hexdigest()


def read_image_folder(path):
    """Decode every picture: (Images, [(file, reason) of each one that cannot be used], ["JPEG", "PNG"] as found)."""
    pictures, set_aside, formats = {}, [], set()
    # One after the other: on pictures this small threads wait for each other (measured: 30 % slower with two), and
    # worker processes would fail in a student's script that lacks the `if __name__ == "__main__"` line.
    for name, content in _pictures(path):
        reason = _misplaced(name)
        kind, image = (None, reason) if reason else _decode(name, content)
        if kind is None:
            set_aside.append((name.encode(errors="replace").decode(), image))  # a name in another encoding can be shown
        else:
            pictures[_place(name) + (name,)] = image
            formats.add(kind)
    _check(path, pictures, set_aside)
    images = Images(*(array for split in SPLITS for array in _gather(pictures, split)))
    return images, sorted(set_aside), sorted(formats)


def _files(path):
    """Yield (name, bytes) of what is in an archive, or below a folder's train/ and test/.

    What else lies in the folder, such as the cache of decoded pictures, is neither read nor hashed.
    """
    path = pathlib.Path(path)
    if path.is_file():
        yield from read_files(path)
        return
    for split in SPLITS:
        if (path / split).is_dir():
            for name, content in read_files(path / split):
                yield f"{split}/{name}", content


def _place(name):
    """Return (split, class) of a file such as any/folders/train/cat/1.png, or None for a file that is no part of it."""
    parts = _parts(name)
    return (parts[-3], parts[-2]) if len(parts) >= 3 and parts[-3] in SPLITS else None


def _misplaced(name):
    """Return why a picture below train/ or test/ lies in no class's folder; None if it does, or is no such picture."""
    *folders, file = _parts(name) or [""]
    if _place(name) or not file.lower().endswith(PICTURES) or not set(folders).intersection(SPLITS):
        return None
    return "beside the classes' folders" if folders[-1] in SPLITS else "deeper than in its class's folder"


def _parts(name):
    """Split a file's name at its folders; nothing is left of a file that an operating system put there."""
    parts = name.removeprefix("./").split("/")
    left_by_the_system = parts[-1] in ("Thumbs.db", "desktop.ini") or any(
        p.startswith((".", "__MACOSX")) for p in parts
    )
    return [] if left_by_the_system else parts


def _pictures(path):
    """Yield (name, bytes) of what lies in a class's folder, or should; refuse what does not belong to CIFAR-10."""
    roots = set()
    for name, content in _files(path):
        place = _place(name)
        if place is None:
            if _misplaced(name):
                yield name, content
            continue
        if place[1] not in CLASSES:
            raise DataError(f"'{place[1]}' is no class of CIFAR-10.", where=f"{path}: {name}", next_step=LAYOUT)
        roots.add(name.rsplit("/", 3)[0] if name.count("/") > 2 else "")
        if len(roots) > 1:
            raise DataError("It holds more than one train/ or test/.", where=f"{path}: {name}", next_step=LAYOUT)
        yield name, content


def _decode(name, content):
    """Return ("JPEG" or "PNG", uint8 (32, 32, 3)), or (None, the reason why it cannot be used)."""
    if not name.lower().endswith(PICTURES):
        return None, "not a PNG or JPEG file by its name"
    try:
        picture = Image.open(io.BytesIO(content), formats=("PNG", "JPEG"))
    except UNREADABLE:
        return None, "not a PNG or JPEG picture" if content else "an empty file"
    with picture:
        if reason := _unusable(picture):
            return None, reason
        try:
            return picture.format, np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))
        except UNREADABLE:
            return None, "damaged: it begins like a picture but cannot be decoded"


def _unusable(picture):
    """Judge a picture by its header, before a single pixel is decoded, so that a huge one costs nothing."""
    if picture.size != SIZE:
        return f"{picture.size[0]} x {picture.size[1]} pixels instead of 32 x 32"
    if picture.mode.startswith(("I", "F")) or any("16" in str(tile[3]) for tile in picture.tile):
        return "16 bits a channel instead of 8"
    if getattr(picture, "is_animated", False):
        return "an animation"
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        return "has transparent pixels"
    if picture.mode not in ("RGB", "L", "P"):
        return f"colours stored as {picture.mode} instead of RGB"
    return None


def _check(path, pictures, set_aside):
    """Raise unless every class has pictures in both splits and nearly all of them could be used."""
    found = collections.Counter(key[:2] for key in pictures)
    example = "; ".join(f"{name}: {reason}" for name, reason in sorted(set_aside)[:3])
    if not pictures and not set_aside:
        raise DataError("There is no picture here.", where=path, next_step=LAYOUT)
    if len(set_aside) > max(1, BAD_SHARE * len(pictures)):
        raise DataError(
            f"{len(set_aside):,} of {len(set_aside) + len(pictures):,} pictures cannot be used ({example}).",
            where=path,
            next_step="Mend or remove them; a few bad pictures are set aside by themselves, this many are not.",
        )
    for split, name in itertools.product(SPLITS, CLASSES):
        if not found[split, name]:
            raise DataError(f"Class '{name}' has no picture in {split}/.", where=path, next_step=LAYOUT)


def _gather(pictures, split):
    keys = sorted(key for key in pictures if key[0] == split)
    labels = np.array([CLASSES.index(key[1]) for key in keys], dtype=np.int64)
    images = np.stack([pictures[key] for key in keys])
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)), labels
