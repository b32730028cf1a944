"""CIFAR-10-C: the images of one corruption and severity, from the published arrays or by corruptions.py.

The arrays (https://zenodo.org/records/2535967, 2.9 GB) are used if CIFAR10_C_ROOT names their folder. It holds a file
for each corruption, such as fog.npy: 50,000 images, first all test images at severity 1, then at severity 2, and so on.
labels.npy holds their labels.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from utils.errors import DataError, check_count, require
from utils.evaluation.corruptions import PUBLISHED, corrupt

VARIABLE = "CIFAR10_C_ROOT"
TEST_IMAGES = 10_000
# In the order of the paper; frost stands between snow and fog.
ALL = tuple(name for known in PUBLISHED for name in (("frost", known) if known == "fog" else (known,)))


def names_of_corruptions(names: Iterable | None = None) -> list[str]:
    """Return these names, or all that are available: 15 with the published arrays, else those without frost."""
    if names is not None:
        is_text = isinstance(names, str)
        require(not is_text, "corruptions must be a list of names, but is a text.", names, f"Write [{names!r}].")
        require(names := [*names], "corruptions is empty.", "corruptions=[]", "Leave it out to use all corruptions.")
        return names
    return [*ALL] if os.environ.get(VARIABLE) else [*PUBLISHED]


def source_of_corruptions() -> str:
    """Return where the corrupted images come from, as text."""
    return "the published arrays" if os.environ.get(VARIABLE) else "corrupted here with the published strengths"


def corrupted_images(split, name: str, severity: int, count: int | None = None, seed: int = 0):
    """Return (images, labels) of one corruption at one severity, uint8 and int64, equally many of each class."""
    check_count("severity", severity, 1, 5)
    folder = os.environ.get(VARIABLE)
    if not folder:
        rows = first_of_each_class(split.labels, min(count or len(split), len(split))).to(split.images.device)
        return corrupt(split.images[rows], name, severity, seed), split.labels[rows]
    everything = _read(Path(folder) / "labels.npy", ())
    labels = torch.from_numpy(everything[:TEST_IMAGES].astype(np.int64))
    is_repeated = (everything.reshape(5, -1) == everything[:TEST_IMAGES]).all()
    what = "The labels of the five severities are not the same, so these are not the labels of CIFAR-10-C."
    _require(is_repeated, what, Path(folder) / "labels.npy")
    rows = first_of_each_class(labels, min(count or TEST_IMAGES, TEST_IMAGES))
    images = _read(Path(folder) / f"{name}.npy", (32, 32, 3))[(severity - 1) * TEST_IMAGES + rows.numpy()]
    device = split.images.device
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(device), labels[rows].to(device)


def first_of_each_class(labels, count):
    """Return `count` rows in ascending order: the first rows of each class, equally many per class if possible."""
    labels = labels.cpu()
    rank = torch.empty(len(labels), dtype=torch.int64)
    for label in labels.unique():
        of_class = labels == label
        rank[of_class] = torch.arange(int(of_class.sum()))
    return rank.argsort(stable=True)[:count].sort().values


def _read(path: Path, shape: tuple):
    """Return an array of 50,000 entries of this shape; only the parts that are used are read from the disk."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        present = ", ".join(sorted(file.stem for file in path.parent.glob("*.npy"))) or "no .npy file"
        _require(False, f"The file {path.name} is missing; the folder has {present}.", path)
    except (OSError, ValueError, EOFError) as error:
        _require(False, f"The file {path.name} can't be read as an array: {error}", path)
    expected = (5 * TEST_IMAGES, *shape)
    is_right = array.shape == expected and (array.dtype == np.uint8 or (not shape and array.dtype.kind in "iu"))
    what = f"{path.name} must be an array of uint8 with the shape {expected}, but is {array.dtype} {array.shape}."
    _require(is_right, what, path)
    return array


def _require(condition, what, path):
    if not condition:
        next_step = f"Set {VARIABLE} to the folder of CIFAR-10-C, as unpacked from CIFAR-10-C.tar, or unset it."
        raise DataError(what, where=path, next_step=next_step)
