"""A disk that fails as told: it stands between the suite's files and the real disk, and notes each call."""

import builtins
import errno
import os
import pathlib

from utils import files
from utils.runs import claim

OPERATIONS = {  # what a training does to a disk: where the name is looked up, and the name
    "mkdir": (pathlib.Path, "mkdir"),
    "fsync": (os, "fsync"),
    "read": (pathlib.Path, "read_bytes"),
    "replace": (os, "replace"),
    "open folder": (os, "open"),
    "list": (pathlib.Path, "iterdir"),
    "unlink": (pathlib.Path, "unlink"),
    "open": (files, "open"),
    "append": (os, "write"),
    "open claim": (claim, "open"),
    "rename": (os, "rename"),
}
CHANGES = {*OPERATIONS} - {"read", "list"}
SPACE = CHANGES - {"unlink", "rename"}  # what needs space on the disk


class Disk:
    """Notes the calls (name, path) on files of one folder; before call number fail_at it calls fail(name)."""

    def __init__(self, monkeypatch, folder, fail=None, fail_at=None):
        self.folder, self.fail, self.fail_at, self.calls = str(folder), fail, fail_at, []
        for name, (place, attribute) in OPERATIONS.items():
            real = getattr(place, attribute, None) or getattr(builtins, attribute)
            monkeypatch.setattr(place, attribute, self._noted(name, real), raising=False)

    def note(self, name, path):
        """Note a call, and fail if it is its turn."""
        if self.fail_at == len(self.calls):
            self.calls.append((name, path))
            self.fail(name)
        else:
            self.calls.append((name, path))

    def _noted(self, name, real):
        def call(*args, **options):
            path = _path(args[0])
            if not path.startswith(self.folder):
                return real(*args, **options)
            self.note(name, path)
            result = real(*args, **options)
            return (
                result if isinstance(result, (int, type(None))) or not name.startswith("open") else File(result, self)
            )

        return call


class File:
    """A file that a Disk gave: it writes in two halves, as a crash between them is one to be tried."""

    def __init__(self, file, disk):
        self.file, self.disk = file, disk

    def write(self, content):
        half = len(content) // 2
        for part in (content[:half], content[half:]):
            self.disk.note("write", self.file.name and str(self.file.name))
            self.file.write(part)
            self.file.flush()

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()


def error(number=errno.EIO):
    """Return a way to fail: with this error, once."""

    def fail(name):
        raise OSError(number, f"{os.strerror(number)}, so the test wants it, in {name}")

    return fail


def death(name):
    """End the process as a power cut does: nothing is cleaned up."""
    os._exit(9)


def _path(file):
    if isinstance(file, int):
        return os.readlink(f"/proc/self/fd/{file}")
    return os.fspath(file)
