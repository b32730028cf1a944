"""Owns the door to the images: load_cifar10 finds a source, checks it, gives uint8 tensors. Makes no batches."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import os
import pathlib
import textwrap

import numpy as np
import torch

from utils.data.sources import CLASSES, Images, download, find, is_synthetic, synthetic
from utils.errors import DataError, DownloadError

DATA = pathlib.Path(__file__).resolve().parents[2] / "data"
SOURCES = ("auto", "cifar10", "synthetic")
SHARED_LIMIT = 0.01  # of the test images; CIFAR-10 itself has a few that are also in its training set


@dataclasses.dataclass(frozen=True)
class Split:
    """Images, uint8 (n, 3, 32, 32), and their labels, int64 (n,), which count through `classes`.

    `origin` goes into records: name, source and fingerprint of all the images that the split was taken from.
    """

    images: torch.Tensor
    labels: torch.Tensor
    origin: dict | None = None
    classes: tuple = CLASSES

    def __len__(self):
        return len(self.labels)

    def subset(self, indices):
        """Return the split of these rows, in this order."""
        return dataclasses.replace(self, images=self.images[indices], labels=self.labels[indices])


@dataclasses.dataclass(frozen=True)
class Cifar10:
    """The images of one source. Every figure made from them carries `name`, every record `fingerprint`."""

    train: Split
    test: Split
    source: str  # "official", "image folder" or "synthetic"
    name: str  # what to call these images in a title; only the official files are called CIFAR-10
    fingerprint: str  # 16 hexadecimal digits that change with any pixel, label or image, but not with their order
    set_aside: tuple = ()  # (file, reason) of each picture that could not be used
    classes: tuple = CLASSES

    def __str__(self):
        return (
            f"{self.name}: {len(self.train):,} training and {len(self.test):,} test images "
            f"of {len(self.classes)} classes, fingerprint {self.fingerprint}"
        )


def load_cifar10(root=None, source="auto"):
    """Find CIFAR-10 and return it as a Cifar10 of uint8 tensors.

    "auto" tries root (or CIFAR10_ROOT), then data/, then a download, and at last draws images and says so loudly.
    "cifar10" does the same but raises rather than draws; "drawn" draws. What is asked for here goes before the
    environment: CIFAR10_SOURCE takes the place of "auto" where no root is given.
    """
    if source == "auto" and root is None:
        source = os.environ.get("CIFAR10_SOURCE", source)
    if is_synthetic(source):
        source = "synthetic"  # also by its old spelling, "drawn"
    if source not in SOURCES:
        raise DataError(f"There is no source '{source}'.", next_step="Choose one of " + ", ".join(SOURCES) + ".")
    if source == "synthetic":
        return _check(_synthetic())
    root = root or os.environ.get("CIFAR10_ROOT")
    if root:
        return _check(find.read_root(pathlib.Path(root).expanduser()))
    here = find.find(DATA)
    try:
        return _check(find.read(here or download.fetch(DATA / download.NAME)))
    except DownloadError as error:
        if source == "cifar10":
            raise
        _notice(error)
        return _check(_synthetic())


def class_rows(split, classes, name):
    """Return the rows of one class, or of every class when name is "all"."""
    rows = torch.arange(len(split))
    return rows if name == "all" else rows[split.labels.cpu() == classes.index(name)]


def channel_statistics(images, chunk=5000):
    """Return for each channel, in [0, 1]: the mean, the std over all pixels, and the mean of the images' own stds."""
    means, squares, own = [], [], []
    for part in images.split(chunk):  # all of CIFAR-10 as float64 would take 1.2 GB
        values = part.flatten(2).to(torch.float64) / 255
        means.append(values.mean(2))
        squares.append(values.square().mean(2))
        own.append(values.std(2, correction=0))
    mean, square, own = (torch.cat(values).mean(0) for values in (means, squares, own))
    std = (square - mean.square()).sqrt()
    return {"mean": mean.tolist(), "std of all pixels": std.tolist(), "mean of the images' own stds": own.tolist()}


def stratified_split(split, held_out, seed=0):
    """Split off held_out images with the classes in proportion: (rest, held out), the same for the same seed.

    The choice depends on the labels and their order only, never on the global random state.
    """
    if not 0 < held_out < len(split):
        raise DataError(
            f"Cannot hold out {held_out} of {len(split)} images.", next_step=f"Choose 1 to {len(split) - 1}."
        )
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(seed))
    # Sorted by class and shuffled within it, every (n / held_out)-th image keeps the proportions to within one image.
    order = order[torch.argsort(split.labels.cpu()[order], stable=True)]
    places = (torch.arange(held_out, dtype=torch.float64) + 0.5) * (len(split) / held_out)
    chosen = torch.zeros(len(split), dtype=torch.bool)
    chosen[order[places.long()]] = True
    return split.subset(torch.nonzero(~chosen).squeeze(1)), split.subset(torch.nonzero(chosen).squeeze(1))


def fingerprint(train, test):
    """Return 16 hexadecimal digits over all image and label bytes, independent of the images' order."""
    digests = _digests(train), _digests(test)
    return _fingerprint(digests)


def _fingerprint(digests):
    """Join the images' digests in sorted order; the split an image is in counts, its place in it does not."""
    whole = hashlib.sha256()
    for name, part in zip((b"train", b"test"), digests, strict=True):
        whole.update(name)
        whole.update(b"".join(sorted(part)))
    return whole.hexdigest()[:16]


def _digests(split, chunk=1000):
    """Hash each image together with its label: a list of 32-byte digests."""
    labels = split.labels.cpu().numpy().astype(np.uint8)[:, None]
    images = split.images.cpu().numpy().reshape(len(split), -1)

    def hash_rows(start):
        rows = np.concatenate([labels[start : start + chunk], images[start : start + chunk]], axis=1)
        return [hashlib.sha256(row).digest() for row in rows]

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:  # hashing a row runs outside Python's lock
        return [digest for part in pool.map(hash_rows, range(0, len(split), chunk)) for digest in part]


def _synthetic():
    return find.Found("synthetic", "synthetic images", Images(*synthetic.draw()))


def _check(found):
    """Make tensors, fingerprint them, say what was left out, and refuse a test set that was trained on."""
    images = found.images
    train = Split(torch.from_numpy(images.train_images), torch.from_numpy(images.train_labels))
    test = Split(torch.from_numpy(images.test_images), torch.from_numpy(images.test_labels))
    digests = _digests(train), _digests(test)
    shared = len(set(digests[0]).intersection(digests[1]))
    if shared > SHARED_LIMIT * len(test):
        raise DataError(
            f"{shared:,} of the {len(test):,} test images are in the training set too.",
            where=found.name,
            next_step="Keep the two apart: an accuracy measured on images that were trained on means nothing.",
        )
    if found.set_aside:
        listed = "; ".join(f"{file} ({reason})" for file, reason in found.set_aside[:3])
        count = "1 picture was" if len(found.set_aside) == 1 else f"{len(found.set_aside)} pictures were"
        print(f"{count} set aside and are not in the data: {listed}" + "; ..." * (len(found.set_aside) > 3))
    origin = {"name": found.name, "source": found.source, "fingerprint": _fingerprint(digests)}
    train, test = (dataclasses.replace(split, origin=origin) for split in (train, test))
    return Cifar10(train, test, **origin, set_aside=found.set_aside)


def _notice(error):
    """Say in a frame that nobody can miss that what follows is not CIFAR-10."""
    parts = (
        "These are SYNTHETIC IMAGES, not CIFAR-10: ten classes of simple shapes under the same names. "
        "The whole suite works on them, but no figure from them says anything about CIFAR-10.",
        f"Why:  {error.what}",
        f"Next: {error.next_step}",
    )
    lines = [line for part in parts for text in part.splitlines() for line in textwrap.wrap(text.strip(), 96)]
    print("\n".join(["=" * 100, *(f"| {line:96} |" for line in lines), "=" * 100]))
