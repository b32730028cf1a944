"""The images for marking: the child gets test images without labels, in a random order; the labels stay here."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from utils.data.cifar10 import Cifar10, load_cifar10
from utils.data.sources import Images

CHANGED = 1000  # test images that are also predicted mirrored and shifted by a pixel
SHOWN = "/images"  # where a child sees them
SYNTHETIC, TEST, CHANGED_TEST, TRAIN = "synthetic.npz", "test.npy", "changed.npy", "train.npz"


@dataclasses.dataclass(frozen=True)
class TestSet:
    """The labels of the test images that the child sees in `folder`, and what the images are."""

    folder: Path
    labels: np.ndarray
    data: Cifar10

    @property
    def has_bands(self) -> bool:
        """Whether an accuracy on these images belongs to a band of the marking scheme."""
        return self.data.source != "synthetic"


def prepare(folder: Path, with_training_images: bool = False) -> TestSet:
    """Write what children may see into a folder; return the TestSet."""
    folder.mkdir(parents=True)
    data = load_cifar10()
    rng = np.random.default_rng()  # not to be guessed: a list of labels in CIFAR-10's order must not help
    order = rng.permutation(len(data.test))
    images, labels = data.test.images.numpy()[order], data.test.labels.numpy()[order]
    np.save(folder / TEST, images)
    np.save(folder / CHANGED_TEST, changed(images[:CHANGED], rng))
    synthetic = data if data.source == "synthetic" else load_cifar10(source="synthetic")
    splits = [split for name in ("train", "test") for split in (getattr(synthetic, name),)]
    arrays = [array.numpy() for split in splits for array in (split.images, split.labels)]
    np.savez(folder / SYNTHETIC, **dict(zip(Images._fields, arrays, strict=True)))
    if with_training_images:
        train = {"train_images": data.train.images.numpy(), "train_labels": data.train.labels.numpy()}
        np.savez(folder / TRAIN, **train, test_images=data.test.images.numpy())
    return TestSet(folder, labels, data)


def shown_to(session) -> list[str]:
    """Return the paths of the two files of test images in a child."""
    return [session.path(f"{SHOWN}/{name}") for name in (TEST, CHANGED_TEST)]


def changed(images: np.ndarray, rng) -> np.ndarray:
    """Return each image mirrored or not, and shifted by one pixel in a random direction."""
    mirrored = np.where(rng.integers(0, 2, (len(images), 1, 1, 1)) == 1, images[..., ::-1], images)
    padded = np.pad(mirrored, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    corners = [(dy, dx) for dy in range(3) for dx in range(3) if (dy, dx) != (1, 1)]
    shifts = [corners[number] for number in rng.integers(0, len(corners), len(images))]
    height, width = images.shape[2:]
    return np.stack([padded[i, :, dy : dy + height, dx : dx + width] for i, (dy, dx) in enumerate(shifts)])
