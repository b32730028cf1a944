"""The sources of images: one module per kind, all called by utils.data.cifar10."""

from typing import NamedTuple

import numpy as np

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def is_synthetic(source) -> bool:
    """Tell whether this `source` of a Cifar10 or a record means the synthetic images; "drawn" is its old spelling."""
    return source in ("synthetic", "drawn")


class Images(NamedTuple):
    """What every source gives: uint8 (n, 3, 32, 32) images and int64 (n,) labels, for training and for testing."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
