"""Accuracy on changed test images: test-time augmentation (TTA), and shifts, noise and JPEG at five strengths.

Pixels are changed as uint8, before they are normalised.
"""

from __future__ import annotations

import io
from collections.abc import Iterable

import numpy as np
import torch
from PIL import Image
from torch import nn

from utils.data.cifar10 import Split
from utils.data.counter_rng import derive_seed, integers
from utils.data.loader import MEAN, STD, BatchLoader
from utils.evaluation.metrics import probabilities, scores

BATCH_SIZE = 1000
# TTA averages the probabilities of several views of an image; a view is (mirrored, pixels down, pixels right).
_BOTH = (False, True)
_SHIFTS = ((0, 0), (1, 1), (-1, -1))
VIEWS = {
    "plain": ((False, 0, 0),),
    "flip": tuple((mirrored, 0, 0) for mirrored in _BOTH),
    "flip + shifts": tuple((mirrored, *shift) for shift in _SHIFTS for mirrored in _BOTH),
}
STRENGTHS = {  # the first strength of each leaves the images unchanged
    "shift": (0, 1, 2, 4, 8),  # pixels, of each image in one of four directions
    "noise": (0, 4, 8, 16, 32),  # standard deviation, in levels of 255
    "jpeg": (None, 90, 70, 40, 10),  # quality; None: not compressed
}
VIEW_PASSES = len(VIEWS["flip + shifts"])
CHANGE_PASSES = 1 + sum(len(strengths) - 1 for strengths in STRENGTHS.values())


def normalisation(data_iter) -> dict:
    """Return {"mean", "std"} of a BatchLoader, to make another loader with the same normalisation."""
    facts = data_iter.describe()
    return {"mean": facts["mean"], "std": facts["std"]}


def averaged_views(
    net: nn.Module, split: Split, names: Iterable = tuple(VIEWS), *, mean=MEAN, std=STD, predict=None
) -> dict[str, torch.Tensor]:
    """Return {name: probabilities (n, classes)} for entries of VIEWS: for each image, the mean over its views."""
    views_of = {name: VIEWS[name] for name in names}
    p_of = {}
    for view in dict.fromkeys(view for views in views_of.values() for view in views):
        mirrored, down, right = view
        images = moved(split.images.flip(-1) if mirrored else split.images, down, right)
        p_of[view] = _probabilities(net, images, split.labels, mean, std, predict)
    return {name: torch.stack([p_of[view] for view in views]).mean(0) for name, views in views_of.items()}


def accuracy_of_views(net: nn.Module, split: Split, names: Iterable = tuple(VIEWS), **settings) -> dict[str, float]:
    """Return {name: fraction correct} for entries of VIEWS; the settings are those of averaged_views."""
    return {name: _accuracy(p, split.labels) for name, p in averaged_views(net, split, names, **settings).items()}


def robustness(net: nn.Module, split: Split, *, mean=MEAN, std=STD, predict=None, seed: int = 0) -> dict:
    """Return the number of images and, for each change, its strengths and the accuracy at each strength."""

    def accuracy(images):
        return _accuracy(_probabilities(net, images, split.labels, mean, std, predict), split.labels)

    unchanged = accuracy(split.images)
    record = {"images": len(split)}
    for name, strengths in STRENGTHS.items():
        changed = [accuracy(CHANGES[name](split.images, strength, seed)) for strength in strengths[1:]]
        record[name] = {"strengths": list(strengths), "accuracy": [unchanged, *changed]}
    return record


def moved(images, down, right):
    """Shift images (n, c, h, w) by whole pixels; the pixels at the edge are repeated to fill the gap."""
    height, width = images.shape[-2:]
    rows = (torch.arange(height, device=images.device) - down).clamp(0, height - 1)
    columns = (torch.arange(width, device=images.device) - right).clamp(0, width - 1)
    return images[..., rows, :][..., columns]


def shift(images, pixels, seed=0):
    """Shift each image by this number of pixels up, down, left or right; the seed determines the direction."""
    index = torch.arange(len(images), device=images.device)
    direction = integers(seed, 0, index, "shift", 0, 4)
    shifted = images.clone()
    for number, (down, right) in enumerate(((-1, 0), (1, 0), (0, -1), (0, 1))):
        rows = direction == number
        shifted[rows] = moved(images[rows], down * pixels, right * pixels)
    return shifted


def noise(images, levels, seed=0):
    """Add normal noise with this standard deviation, in levels of 255; every strength scales the same noise."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "noise") % 2**63)
    values = torch.randn(images.shape, generator=generator).to(images.device)  # the same for every device
    return (images + levels * values).round_().clamp_(0, 255).to(torch.uint8)


def jpeg(images, quality, seed=0):
    """Compress each image as JPEG of this quality and read it again; colours have half the resolution, as usual."""
    pictures = images.cpu().permute(0, 2, 3, 1).contiguous().numpy()
    compressed = np.stack([_as_jpeg(picture, quality) for picture in pictures])
    return torch.from_numpy(compressed).permute(0, 3, 1, 2).contiguous().to(images.device)


CHANGES = {"shift": shift, "noise": noise, "jpeg": jpeg}


def spread_rows(labels, count):
    """Return `count` rows in ascending order: the first rows of each class, equally many per class if possible."""
    labels = labels.cpu()
    rank = torch.empty(len(labels), dtype=torch.int64)
    for label in labels.unique():
        of_class = labels == label
        rank[of_class] = torch.arange(int(of_class.sum()))
    return rank.argsort(stable=True)[:count].sort().values


def _as_jpeg(picture, quality):
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "JPEG", quality=quality, subsampling="4:2:0")
    return np.asarray(Image.open(content, formats=("JPEG",)))


def _probabilities(net, images, labels, mean, std, predict):
    data_iter = BatchLoader(Split(images, labels), BATCH_SIZE, mean=mean, std=std)
    return probabilities(scores(net, data_iter, predict)[0])


def _accuracy(p, labels):
    return float((p.argmax(1) == labels.cpu()).double().mean())
