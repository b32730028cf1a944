"""Files that are never half written: JSON, lines and bytes."""

from __future__ import annotations

import json
import math
import os
import threading


def plain(value):
    """Return a value as JSON holds it: numbers that are none (NaN, Inf) as null, all unknown things as text."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return plain(value.item()) if getattr(value, "ndim", None) == 0 else str(value)  # NumPy's and torch's numbers


def write_json(path, value):
    """Write a JSON file whole or not at all."""
    text = json.dumps(plain(value), indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    write_bytes(path, as_bytes(text))


def as_bytes(text):
    """Return a text as UTF-8; half a character, as a file's name may hold on some systems, becomes a question mark."""
    return text.encode(errors="replace")


def write_bytes(path, content):
    """Write a file in one step: a reader finds the old one or the new one, and a kill leaves one of them."""
    partial = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.partial")
    try:
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(path.parent)


def read_json(path):
    """Return a JSON file's object, or None if there is none or it holds something else."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def append_lines(path, rows):
    """Append objects, a line each, on the disk when this returns; what an accident left before them is closed off."""
    line = as_bytes("".join(json.dumps(plain(row), allow_nan=False, ensure_ascii=False) + "\n" for row in rows))
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
    try:
        if _is_torn(handle):
            line = b"\n" + line
        written = os.write(handle, line)  # one call: lines of two processes never mix
        while written < len(line):  # a disk that is nearly full takes a part, and then says so
            written += os.write(handle, line[written:])
        os.fsync(handle)
    finally:
        os.close(handle)


def _is_torn(handle):
    size = os.lseek(handle, 0, os.SEEK_END)
    if not size:
        return False
    os.lseek(handle, size - 1, os.SEEK_SET)
    return os.read(handle, 1) != b"\n"


def read_lines(path):
    """Return (rows, bad): the objects of a file's lines, and how many lines cannot be read. No file has no lines."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return [], 0
    rows, bad = [], 0
    for line in lines:
        line = line.strip(b"\0\r ")  # a block of zeros is what a lost write leaves
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


def sync_folder(folder):
    """Put a folder's list of names on the disk: only then does a new file survive a power cut."""
    if os.name == "nt":  # Windows cannot open a folder, and needs no such call
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
