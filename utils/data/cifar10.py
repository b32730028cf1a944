"""Load CIFAR-10 or your own images as uint8 tensors, and split off a validation set.

For example:

    data = load_cifar10()
    train, val = stratified_split(data.train, held_out=5000)
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import os
import pathlib

import numpy as np
import torch

from utils.data.sources import CLASSES, Images, download, find, synthetic
from utils.errors import DataError, DownloadError

DATA = pathlib.Path(__file__).resolve().parents[2] / "data"
SOURCES = ("auto", "cifar10", "synthetic")
NOTICE = """\
These are SYNTHETIC IMAGES, not CIFAR-10: ten classes of simple shapes under the
same names. The whole suite works with them, but no result on them says anything
about CIFAR-10."""
SHARED_LIMIT = 0.01  # the fraction of test images that may also be in the training set; CIFAR-10 itself has a few


@dataclasses.dataclass(frozen=True)
class Split:
    """Images, uint8 (n, 3, 32, 32), and their labels, int64 (n,): the positions of their names in `classes`.

    `origin` is written into records: name, source, checksum and classes of the images before splitting.
    """

    images: torch.Tensor
    labels: torch.Tensor
    origin: dict | None = None
    classes: tuple = CLASSES

    def __len__(self):
        return len(self.labels)

    def subset(self, indices) -> Split:
        """Return the split of these rows, in this order."""
        return dataclasses.replace(self, images=self.images[indices], labels=self.labels[indices])


@dataclasses.dataclass(frozen=True)
class Cifar10:
    """The images of one source. Figures made from them show `name`, and records contain `checksum`."""

    train: Split
    test: Split
    source: str  # "official", "image folder" or "synthetic"
    name: str  # the images' name for titles; only the official files are called CIFAR-10
    checksum: str  # checksum of the images and labels, 16 hexadecimal digits; it does not depend on their order
    set_aside: tuple = ()  # (file, reason) of each picture that could not be used
    classes: tuple = CLASSES

    def __str__(self):
        return (
            f"{self.name}: {len(self.train):,} training and {len(self.test):,} test images "
            f"of {len(self.classes)} classes, checksum {self.checksum}"
        )


def load_cifar10(root=None, source="auto") -> Cifar10:
    """Find CIFAR-10, with its ten classes, and return it as uint8 tensors.

    source: "auto" reads root (or the folder in CIFAR10_ROOT) if there is one, and raises an error if no images are
    there. Otherwise it tries data/, on Kaggle the attached data sets, and then a download; if all fail, it makes
    synthetic images and prints a notice. "cifar10" does the same, but raises an error in place of synthetic images.
    "synthetic" makes synthetic images at once. Arguments have priority over the environment: CIFAR10_SOURCE replaces
    "auto" only if no root is given.
    """
    if source == "auto" and root is None:
        source = os.environ.get("CIFAR10_SOURCE") or source
    if source == "synthetic":
        return _to_data(_synthetic())
    if source not in SOURCES:
        raise DataError(f"There is no source '{source}'.", next_step="Choose one of " + ", ".join(SOURCES) + ".")
    root = root or os.environ.get("CIFAR10_ROOT")
    if root:
        return _to_data(find.read_root(pathlib.Path(root).expanduser()))
    readable = find.find(DATA) or find.find_attached()
    try:
        return _to_data(find.read(readable or download.fetch(DATA / download.NAME)))
    except DownloadError as error:
        if source == "cifar10":
            raise
        _print_notice(error)
        return _to_data(_synthetic())


def load_images(folder) -> Cifar10:
    """Load your own images from folder/train/<class>/ and folder/test/<class>/, or from an archive of these folders.

    The classes are named after the folders, in alphabetical order. A picture that is not 32 x 32 pixels is cut to its
    middle square and made 32 x 32.
    """
    return _to_data(find.read_own(pathlib.Path(folder).expanduser()))


def class_rows(split, classes, name) -> torch.Tensor:
    """Return the rows of one class, or of every class when name is "all"."""
    rows = torch.arange(len(split))
    return rows if name == "all" else rows[split.labels.cpu() == classes.index(name)]


def stratified_split(split, held_out, seed=0) -> tuple:
    """Return (rest, held out): hold out this number of images, with the same share of every class.

    The choice depends only on the labels, their order and the seed, not on the global random state.
    """
    if not 0 < held_out < len(split):
        raise DataError(
            f"Cannot hold out {held_out} of {len(split)} images.", next_step=f"Choose 1 to {len(split) - 1}."
        )
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(seed))
    # Every (n / held_out)-th image, sorted by class and shuffled within each: the shares agree to within one image.
    order = order[torch.argsort(split.labels.cpu()[order], stable=True)]
    positions = (torch.arange(held_out, dtype=torch.float64) + 0.5) * (len(split) / held_out)
    chosen = torch.zeros(len(split), dtype=torch.bool)
    chosen[order[positions.long()]] = True
    return split.subset(torch.nonzero(~chosen).squeeze(1)), split.subset(torch.nonzero(chosen).squeeze(1))


def checksum_of_images(train, test) -> str:
    """Return the checksum of the images and labels, 16 hexadecimal digits; it does not depend on their order."""
    return _checksum_of_digests(_digests(train), _digests(test))


def _checksum_of_digests(train_digests, test_digests):
    """Hash the images' digests in sorted order; the checksum depends on each image's split, not on its position."""
    checksum = hashlib.sha256()
    for name, digests in ((b"train", train_digests), (b"test", test_digests)):
        checksum.update(name)
        checksum.update(b"".join(sorted(digests)))
    return checksum.hexdigest()[:16]


def _digests(split, chunk=1000):
    """Return a list of 32-byte digests, one for each image together with its label."""
    labels = split.labels.cpu().numpy().astype(np.uint8)[:, None]
    images = split.images.cpu().numpy().reshape(len(split), -1)

    def hash_rows(start):
        rows = np.concatenate([labels[start : start + chunk], images[start : start + chunk]], axis=1)
        return [hashlib.sha256(row).digest() for row in rows]

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:  # hashlib releases Python's global lock
        return [digest for digests in pool.map(hash_rows, range(0, len(split), chunk)) for digest in digests]


def _synthetic():
    return find.Found("synthetic", "synthetic images", Images(*synthetic.draw()))


def _to_data(found):
    """Return a Cifar10; print which pictures were left out; raise an error if many test images are training images."""
    images = found.images
    train = Split(torch.from_numpy(images.train_images), torch.from_numpy(images.train_labels))
    test = Split(torch.from_numpy(images.test_images), torch.from_numpy(images.test_labels))
    train_digests, test_digests = _digests(train), _digests(test)
    shared = len(set(train_digests).intersection(test_digests))
    if shared > SHARED_LIMIT * len(test):
        raise DataError(
            f"{shared:,} of the {len(test):,} test images are also in the training set.",
            where=found.name,
            next_step="Remove them from one of the two: the accuracy on training images is no test accuracy.",
        )
    if found.set_aside:
        _print_set_aside(found.set_aside)
    checksum = _checksum_of_digests(train_digests, test_digests)
    origin = {"name": found.name, "source": found.source, "checksum": checksum, "classes": list(found.classes)}
    train, test = (dataclasses.replace(split, origin=origin, classes=found.classes) for split in (train, test))
    return Cifar10(train, test, found.source, found.name, checksum, found.set_aside, found.classes)


def _print_set_aside(set_aside):
    count = "1 picture was" if len(set_aside) == 1 else f"{len(set_aside)} pictures were"
    files = [f"{file} ({reason})" for file, reason in set_aside[:3]]
    if len(set_aside) > 3:
        files.append("...")
    print(f"{count} left out, because they can't be used: " + "; ".join(files))


def _print_notice(error):
    print("\n".join(["=" * 80, NOTICE, f"Why:  {error.what}", f"Next: {error.next_step}", "=" * 80]))
