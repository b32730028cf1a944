"""What the tests of loaders share: splits of noise, augmentations, and one pass of a loader as a list."""

import collections
import random

import numpy as np
import torch

from utils.data.augment import Affine, AlternatingFlip, ColorJitter, Crop, Cutout, Flip
from utils.data.cifar10 import Split
from utils.data.loader import MEAN, STD

N = 50
EVERYTHING = (
    Flip(),
    AlternatingFlip(),
    Crop(4),
    Crop(2, "reflect"),
    Affine(10),
    ColorJitter(0.2, 0.2, 0.2, 0.1),
    Cutout(8),
)
Data = collections.namedtuple("Data", "train test")


def make_split(n=N, seed=0, size=32):
    """Return images of noise; the labels count through the classes, so that an order can be read from them."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, 3, size, size), generator=generator, dtype=torch.uint8)
    return Split(images, torch.arange(n) % 10)


def numbered_split(n=N):
    """Return images that are all their own number in every pixel, with that number as label."""
    numbers = torch.arange(n)
    return Split(numbers.to(torch.uint8).view(n, 1, 1, 1).repeat(1, 3, 32, 32), numbers)


SPLIT, NUMBERED = make_split(), numbered_split()


def one_pass(loader):
    return [(X.clone(), y.clone()) for X, y in loader]


def same(a, b):
    return len(a) == len(b) and all(
        torch.equal(x, y) for p, q in zip(a, b, strict=True) for x, y in zip(p, q, strict=True)
    )


def normalised(images):
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return (images.float() / 255 - mean) / std


def global_states():
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
