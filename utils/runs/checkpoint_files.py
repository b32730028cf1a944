"""Checkpoints as files: never half written, checked when read, and no code in them is ever run."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import re
import struct
import warnings

import torch

from utils.errors import CheckpointError, CheckpointWarning
from utils.files import sync_folder

# The hash of its content is a part of the name: a file that was cut short or changed does not fit its name any more.
NAME = "checkpoint-{epoch:05d}-{batch:07d}-{hash}.pt"
PATTERN = re.compile(r"checkpoint-(\d{5,})-(\d{7,})-([0-9a-f]{32})\.pt")

# What torch.load raises for bytes that are not a checkpoint, as thousands of damaged ones have shown.
NO_CHECKPOINT = (pickle.UnpicklingError, struct.error, RuntimeError, EOFError, LookupError, ValueError, TypeError)
NO_CHECKPOINT += (AttributeError, AssertionError, ArithmeticError, MemoryError)


def write(folder, state):
    """Write a checkpoint under its final name only when all of it lies on the disk and reads back the same."""
    content, position = dump(state), state["position"]
    name = NAME.format(epoch=position["epoch"], batch=position["batch"], hash=_hash(content))
    folder.mkdir(parents=True, exist_ok=True)
    _put(content, folder / name)
    return folder / name


def dump(state):
    """Return a checkpoint's bytes."""
    content = io.BytesIO()
    torch.save(state, content)
    return content.getbuffer()


def load(content, where, next_step):
    """Return the state in a checkpoint's bytes; run nothing that they bring along."""
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except NO_CHECKPOINT as error:
        lines = str(error).splitlines() or [type(error).__name__]
        reason = next((line.strip() for line in lines if "GLOBAL" in line or "global" in line), lines[0])
        what = f"This checkpoint holds more than numbers and texts, or is none: {reason[:200]}"
        raise CheckpointError(what, where=where, next_step=next_step) from None


def copy(path, folder):
    """Copy a checkpoint into another folder, with the same care."""
    _put(path.read_bytes(), folder / path.name)


def _put(content, path):
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if _hash(partial.read_bytes()) != PATTERN.fullmatch(path.name)[3]:
            raise OSError(f"{partial.name} does not read back as it was written")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(path.parent)


def remove_old(folder, keep, written):
    """Remove all but the newest checkpoints; the one just written always stays."""
    for path in listed(folder)[keep:]:
        if path != written:
            path.unlink(missing_ok=True)


def listed(folder):
    """List a folder's checkpoints, the newest first."""
    return sorted((path for path in kept(folder) if path.suffix == ".pt"), key=_place, reverse=True)


def kept(folder):
    """List all that was saved in a folder, the damaged too."""
    try:
        paths = list(folder.iterdir())
    except FileNotFoundError:  # anything else, such as a drive that was unmounted, does not mean that there are none
        return []
    return [path for path in paths if PATTERN.fullmatch(path.with_suffix(".pt").name) and path.suffix != ".old"]


def _place(path):
    epoch, batch, _ = PATTERN.fullmatch(path.name).groups()
    return int(epoch), int(batch), path.stat().st_mtime


def clean(folder):
    """Remove what attempts that were killed while writing have left."""
    for path in folder.glob("checkpoint-*.partial"):
        path.unlink(missing_ok=True)


def newest(folders):
    """Return (path, state) of the newest intact checkpoint in some folders, or None if there never was one.

    One that is damaged is set aside as .corrupt, with a warning; if no other is left, that is an error: the training
    does not silently start again.
    """
    damaged, found = [], [path for folder in folders for path in listed(folder)]
    for path in sorted(found, key=lambda path: _place(path)[:2], reverse=True):
        state = _read(path)
        if state is not None:
            for bad in damaged:
                what = f"A damaged checkpoint was set aside as {bad}; the training resumes from {path.name}."
                warnings.warn(what, CheckpointWarning, stacklevel=4)
            return path, state
        aside = path.with_suffix(".corrupt")
        path.replace(aside)
        damaged.append(aside.name)
    aside = [path for folder in folders for path in kept(folder)]
    if aside:
        raise CheckpointError(
            f"Every checkpoint of this training is damaged: {len(aside)} set aside as .corrupt.",
            where=folders[0],
            next_step="Copy an intact one there, or start anew: Checkpoints(..., resume=False), or another folder.",
        )
    return None


def _read(path):
    """Return a checkpoint's state, or None if its content is not what its name says."""
    content = path.read_bytes()
    if _hash(content) != PATTERN.fullmatch(path.name)[3]:
        return None
    state = load(content, path, "It was not written by this suite. Remove it; nothing in it was run.")
    if not isinstance(state, dict) or not isinstance(state.get("about"), dict):
        what = "This is not a checkpoint of a training."
        raise CheckpointError(what, where=path, next_step="Remove it from this folder.")
    return state


def _hash(content):
    return hashlib.sha256(content).hexdigest()[:32]
