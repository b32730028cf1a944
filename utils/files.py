"""Write JSON files, and append lines of JSON to files, so that no file is ever half written.

write_json(path, {"loss": 0.5})
append_lines(path, [{"epoch": 1}])
"""

from __future__ import annotations

import errno
import json
import math
import os
import threading
import time
from pathlib import Path

# On Windows a file can't be replaced while another program, such as a virus scanner, has it open for a moment.
PAUSES = (0.01, 0.1, 0.5) if os.name == "nt" else ()  # seconds before the next attempt


def plain(value):
    """Return a value that JSON can represent: NaN and Inf become null, and objects of unknown types become text."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return plain(value.item()) if getattr(value, "ndim", None) == 0 else str(value)  # NumPy's and torch's numbers


def write_json(path: Path, value):
    """Write a JSON file in one step."""
    text = json.dumps(plain(value), indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    write_bytes(path, as_bytes(text))


def as_bytes(text: str) -> bytes:
    """Return a text as UTF-8; an invalid character, which file names may contain, becomes a question mark."""
    return text.encode(errors="replace")


def write_bytes(path: Path, content: bytes):
    """Write a file in one step: readers see the old file or the new one, even if the process is killed.

    The file gets its name when all of it is on the disk and was read back unchanged.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.partial")
    try:
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if partial.read_bytes() != content:
            raise OSError(f"{partial.name} does not read back as it was written")
        replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(path.parent)


def replace(partial: Path, path: Path):
    """Give a complete file its final name, in place of an older file."""
    for pause in PAUSES:
        try:
            os.replace(partial, path)
            return
        except PermissionError:
            time.sleep(pause)
    os.replace(partial, path)


def read_json(path: Path) -> dict | None:
    """Return the object in a JSON file, or None if there is no file or it contains anything else."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def append_lines(path: Path, rows: list[dict]):
    """Append objects, one per line, and wait until they are on the disk.

    After an error some may be in the file. The caller appends all again, and readers accept an object that is repeated.
    """
    # The line break in front: another process may be killed in the middle of a line at any time, also just before this.
    lines = "\n" + "".join(json.dumps(plain(row), allow_nan=False, ensure_ascii=False) + "\n" for row in rows)
    content = as_bytes(lines)
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
    try:
        if os.write(handle, content) < len(content):  # one call: the rest could end up inside another process's line
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        os.fsync(handle)
    finally:
        os.close(handle)


def read_lines(path: Path) -> tuple[list[dict], int]:
    """Return (rows, bad): the objects in a file's lines, and the number of unreadable lines; ([], 0) without a file."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return [], 0
    rows, bad = [], 0
    for line in lines:
        line = line.strip(b"\0\r ")  # after a power cut, a lost write may be a block of zeros
        if not line:
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
            row = None
        if isinstance(row, dict):
            rows.append(row)
        else:
            bad += 1
    return rows, bad


def sync_folder(folder: Path):
    """Write a folder's list of file names to the disk, so that a new file is not lost in a power cut."""
    if os.name == "nt":  # Windows can't open a folder, and does not need this
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
