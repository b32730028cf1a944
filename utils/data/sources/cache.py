"""Owns decoded images kept on disk, found again by the content they came from. A cache is never needed, only faster."""

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
    """Return where decoded images are kept: CIFAR10_CACHE, the suite's data/cache, or a folder of this user's own."""
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
    """Return (Images, notes) kept under this key, or make and keep them; notes are JSON data."""
    file = folder() / f"{key}-v{VERSION}.npz"
    kept = load(file)
    if kept is None:
        with _lock(file):
            kept = load(file)  # another notebook may have been faster
            if kept is None:
                kept = make()
                _save(file, *kept)
    return kept


def _lock(file):
    """Let several notebooks that open at once decode once; the system frees the lock of a process that dies."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(f"{file}.lock")
        lock.acquire()
        return lock
    except (OSError, NotImplementedError):
        return contextlib.nullcontext()  # a folder without locks or without leave to write: decode for ourselves


def load(file):
    """Return (Images, notes) from a cache file, or None when it is not there, damaged or was changed."""
    try:
        with zipfile.ZipFile(file) as kept:
            images = Images(*(_array(kept, field) for field in Images._fields))
            return images, json.loads(_array(kept, "notes").tobytes())
    except FileNotFoundError:
        return None
    except DAMAGED:
        print("The kept copy of the decoded images is damaged; decoding them again.")
        with contextlib.suppress(OSError):
            file.unlink()
        return None


def _array(kept, name):
    """Return an array out of a zip, read to its end: only there does zip compare the checksum that it keeps of each."""
    return np.load(io.BytesIO(kept.read(f"{name}.npy")), allow_pickle=False)


def _save(file, images, notes):
    """Write beside the final name, then rename, so that a reader sees the whole file or none."""
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as out:
            np.savez(out, notes=np.frombuffer(json.dumps(notes).encode(), np.uint8), **images._asdict())
            out.flush()
            os.fsync(out.fileno())
        os.replace(part, file)
    except OSError as error:
        print(f"The decoded images could not be kept for next time ({error}); going on without.")
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
