"""Keep decoded images on disk, under the hash of the content they came from; without the cache all works, slower."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import lzma
import os
import pathlib
import tempfile
import zipfile
import zlib

import filelock
import numpy as np

from utils.data.sources import Images

VERSION = 2  # raise it when the same content would be decoded to something else
DAMAGED = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)


def folder():
    """Return where decoded images are kept: CIFAR10_CACHE, the suite's data/cache, or a temporary folder."""
    if os.environ.get("CIFAR10_CACHE"):
        return pathlib.Path(os.environ["CIFAR10_CACHE"])
    suite = pathlib.Path(__file__).resolve().parents[3] / "data" / "cache"
    with contextlib.suppress(OSError):
        suite.mkdir(parents=True, exist_ok=True)
        if os.access(suite, os.W_OK):
            return suite
    user = hashlib.sha256(str(pathlib.Path.home()).encode()).hexdigest()[:8]
    return pathlib.Path(tempfile.gettempdir()) / f"cifar10-cache-{user}"


def remember(key, make):
    """Return the (Images, notes) kept under this key, or make and keep them; notes are JSON data."""
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
    """Let several notebooks that open at once decode once; the system frees the lock of a process that dies."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(f"{file}.lock")
        lock.acquire()
        return lock
    except (OSError, NotImplementedError):
        return contextlib.nullcontext()  # the folder knows no locks, or may not be written to: decode without one


def load(file):
    """Return (Images, notes) from a cache file, or None when it is not there, damaged or was changed."""
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
    """Return an array of a zip archive, read to its end: only there does zipfile compare its checksum."""
    return np.load(io.BytesIO(archive.read(f"{name}.npy")), allow_pickle=False)


def _save(file, images, notes):
    """Write under another name, then rename, so that a reader sees the whole file or none."""
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as out:
            np.savez(out, notes=np.frombuffer(json.dumps(notes).encode(), np.uint8), **images._asdict())
            out.flush()
            os.fsync(out.fileno())
        os.replace(part, file)
    except OSError as error:
        print(f"The decoded images could not be kept for next time ({error}). They will be decoded again then.")
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
