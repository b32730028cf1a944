"""Write and read checkpoint files. No file is half written, each is checked when read, and no code in it is run."""

from __future__ import annotations

import copy
import hashlib
import io
import pickle
import re
import struct
import warnings
from collections import Counter, OrderedDict, defaultdict, deque

import numpy as np
import torch

from utils.errors import CheckpointError, CheckpointWarning
from utils.files import write_bytes

# The name contains a hash of the file's content, so that a file that was cut short or changed is recognised.
NAME = "checkpoint-{epoch:05d}-{batch:07d}-{hash}.pt"
PATTERN = re.compile(r"checkpoint-(\d{5,})-(\d{7,})-([0-9a-f]{32})\.pt")

NOT_RUN = (
    "Move it to another folder; none of its code was run. If it is yours, torch.load(path, weights_only=False)['net'] "
    "has its weights."
)

SIMPLE = (type(None), bool, int, float, str, torch.Tensor, torch.nn.Parameter)  # torch.load reads them

# The exceptions that torch.load raises for damaged checkpoints, collected by loading thousands of them.
NO_CHECKPOINT = (pickle.UnpicklingError, struct.error, RuntimeError, EOFError, LookupError, ValueError, TypeError)
NO_CHECKPOINT += (AttributeError, AssertionError, ArithmeticError, MemoryError)


def write(folder, state):
    """Write a checkpoint; it gets its final name when the whole file is on the disk and was read back unchanged."""
    content, done = dump(state), state["position"]
    name = NAME.format(epoch=done["epoch"], batch=done["batch"], hash=_hash(content))
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / name, content)
    return folder / name


def dump(state):
    """Return a checkpoint's bytes."""
    content = io.BytesIO()
    torch.save(state, content)
    return content.getbuffer()


def plain(value):
    """Return a copy of a state in which tensors, numbers, lists and dicts replace what torch.load would refuse."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        try:
            return torch.from_numpy(value.copy())
        except (TypeError, ValueError):  # such as an array of texts
            return plain(value.tolist())
    if type(value) in (OrderedDict, Counter):
        items = plain(dict(value))
        copied = copy.copy(value)  # with the attribute _metadata of a network's state
        copied.clear()
        copied.update(items)
        return copied
    if type(value) in (dict, defaultdict):
        return {plain(key): plain(item) for key, item in value.items()}
    if type(value) in (list, deque):
        return [plain(item) for item in value]
    return tuple(map(plain, value)) if type(value) is tuple else value


def remove_unreadable(state, name=""):
    """Replace what can't be read from a checkpoint by None in a state; return the names of these entries."""
    names = []
    for key, value in list(state.items() if isinstance(state, dict) else enumerate(state)):
        path = f"{name}.{key}".lstrip(".")
        if not _is_readable(key):
            del state[key]
            names.append(path)
        elif type(value) in (dict, OrderedDict, list):
            names += remove_unreadable(value, path)
        elif not _is_readable(value):
            state[key] = None
            names.append(path)
    return names


def _is_readable(value):
    if type(value) in SIMPLE:
        return True
    if type(value) is tuple:
        return all(map(_is_readable, value))
    try:
        load(dump(value), None, None)
        return True
    except Exception:  # pickle raises many kinds of errors
        return False


def load(content, where, next_step):
    """Return the state in a checkpoint's bytes, without running any code that they may contain."""
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except NO_CHECKPOINT as error:
        lines = str(error).splitlines() or [type(error).__name__]
        reason = next((line.strip() for line in lines if "GLOBAL" in line or "global" in line), lines[0])
        what = f"This file is not a checkpoint, or contains more than numbers and texts: {reason[:200]}"
        raise CheckpointError(what, where=where, next_step=next_step) from None


def remove_old(folder, keep):
    """Remove all but the newest `keep` checkpoints."""
    for path in listed(folder)[keep:]:
        path.unlink(missing_ok=True)


def listed(folder):
    """List a folder's checkpoints, the newest first."""
    paths = [path for path in listed_with_damaged(folder) if path.suffix == ".pt"]
    return sorted(paths, key=position, reverse=True)


def listed_with_damaged(folder):
    """List a folder's checkpoints, including the damaged ones that were renamed to .corrupt."""
    try:
        paths = list(folder.iterdir())
    except FileNotFoundError:  # other errors, such as an unmounted drive, do not mean that there is no checkpoint
        return []
    return [path for path in paths if PATTERN.fullmatch(path.with_suffix(".pt").name)]


def position(path):
    """Return (epoch, batch) from a checkpoint's name: how many epochs, and batches of the next one, were done."""
    epoch, batch, _ = PATTERN.fullmatch(path.name).groups()
    return int(epoch), int(batch)


def clean(folder):
    """Remove the partial files of attempts that were killed while they wrote a checkpoint."""
    for path in folder.glob("checkpoint-*.partial"):
        path.unlink(missing_ok=True)


def newest(folder):
    """Return (path, state) of a folder's newest intact checkpoint, or None if there never was one.

    A damaged checkpoint is renamed to .corrupt, with a warning. If all are damaged, an error is raised, so that the
    training does not silently start again.
    """
    damaged = []
    for path in listed(folder):
        state = _read(path)
        if state is not None:
            for name in damaged:
                what = f"A damaged checkpoint was renamed to {name}; the training resumes from {path.name}."
                warnings.warn(what, CheckpointWarning, stacklevel=4)
            return path, state
        corrupt = path.with_suffix(".corrupt")
        path.replace(corrupt)
        damaged.append(corrupt.name)
    if all_damaged := listed_with_damaged(folder):
        raise CheckpointError(
            f"Every checkpoint of this training is damaged: {len(all_damaged)} were renamed to .corrupt.",
            where=folder,
            next_step="Copy an intact one there, or remove the folder, to start anew.",
        )
    return None


def _read(path):
    """Return a checkpoint's state, or None if its content does not have the hash in its name."""
    content = path.read_bytes()
    if _hash(content) != PATTERN.fullmatch(path.name)[3]:
        return None
    state = load(content, path, NOT_RUN)
    if not isinstance(state, dict) or not isinstance(state.get("about"), dict):
        what = "This file is not a checkpoint of a training."
        raise CheckpointError(what, where=path, next_step="Remove it from this folder.")
    return state


def _hash(content):
    return hashlib.sha256(content).hexdigest()[:32]
