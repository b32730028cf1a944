"""Cache decoded images on disk, under the hash of the files they were decoded from; it only saves time."""

from __future__ import annotations

import contextlib
import io
import json
import lzma
import os
import pathlib
import zipfile
import zlib

import filelock
import numpy as np

from utils.data.sources import Images

VERSION = 2  # increase it if the same files are decoded to other images or notes than before
DAMAGED = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)


def folder():
    """Return the folder of the cache: CIFAR10_CACHE, the suite's data/cache, or one in the user's home folder.

    A folder that all users share, such as /tmp, is never used: anybody could have put images there.
    """
    if os.environ.get("CIFAR10_CACHE"):
        return pathlib.Path(os.environ["CIFAR10_CACHE"])
    suite = pathlib.Path(__file__).resolve().parents[3] / "data" / "cache"
    with contextlib.suppress(OSError):
        suite.mkdir(parents=True, exist_ok=True)
        if os.access(suite, os.W_OK):
            return suite
    return pathlib.Path("~/.cache/cifar10-coursework").expanduser()


def remember(key, make):
    """Return the (Images, notes) cached under this key, or make and cache them; notes are JSON data."""
    file = folder() / f"{key}-v{VERSION}.npz"
    images_and_notes = load(file)
    if images_and_notes is None:
        with _lock(file):
            images_and_notes = load(file)  # another notebook may have been faster
            if images_and_notes is None:
                images_and_notes = make()
                _save(file, *images_and_notes)
    return images_and_notes


def _lock(file):
    """Lock a cache file, so that only one of several notebooks decodes; a process that ends releases its lock."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(f"{file}.lock")
        lock.acquire()
        return lock
    except (OSError, NotImplementedError):
        return contextlib.nullcontext()  # the folder supports no locks or is read-only: decode without a lock


def load(file):
    """Return (Images, notes) from a cache file, or None if it is missing, damaged or changed."""
    try:
        with zipfile.ZipFile(file) as archive:
            images = Images(*(_array(archive, field) for field in Images._fields))
            return images, json.loads(_array(archive, "notes").tobytes())
    except FileNotFoundError:
        return None
    except DAMAGED:
        print("The cached copy of the decoded images is damaged; decoding them again.")
        with contextlib.suppress(OSError):
            file.unlink()
        return None


def _array(archive, name):
    """Return an array of a zip archive; it is read to its end, where zipfile compares the checksum."""
    return np.load(io.BytesIO(archive.read(f"{name}.npy")), allow_pickle=False)


def _save(file, images, notes):
    """Write under another name, then rename, so that no process reads a half-written file."""
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as out:
            np.savez(out, notes=np.frombuffer(json.dumps(notes).encode(), np.uint8), **images._asdict())
            out.flush()
            os.fsync(out.fileno())
        os.replace(part, file)
    except OSError as error:
        print(f"The decoded images could not be cached ({error}). Next time they will be decoded again.")
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
