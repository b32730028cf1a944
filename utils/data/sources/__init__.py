"""The sources of images, one module per kind of source; utils.data.cifar10 calls them."""

from typing import NamedTuple

import numpy as np

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class Images(NamedTuple):
    """The images of a source, uint8 (n, 3, 32, 32), and labels, int64 (n,), for training and for testing."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
