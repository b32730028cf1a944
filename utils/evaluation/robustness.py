"""Owns changed test images: views to average over, and shifts, noise and JPEG at five strengths. Trains nothing.

Pixels are changed as uint8, before they are normalised, as a camera or a file would change them.
"""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image

from utils.data.cifar10 import Split
from utils.data.counter_rng import derive_seed, integers
from utils.data.loader import MEAN, STD, BatchLoader
from utils.evaluation.metrics import probabilities, scores

BATCH_SIZE = 1000
# A view is (mirrored, pixels down, pixels right); an image's answer is the mean of the probabilities of a row's views.
_BOTH = (False, True)
_SHIFTS = ((0, 0), (1, 1), (-1, -1))
VIEWS = {
    "plain": ((False, 0, 0),),
    "flip": tuple((mirrored, 0, 0) for mirrored in _BOTH),
    "flip + shifts": tuple((mirrored, *shift) for shift in _SHIFTS for mirrored in _BOTH),
}
STRENGTHS = {  # the first of each leaves the images as they are
    "shift": (0, 1, 2, 4, 8),  # pixels, of each image in one of four directions
    "noise": (0, 4, 8, 16, 32),  # standard deviation, in levels of 255
    "jpeg": (None, 90, 70, 40, 10),  # quality; None: not compressed
}
VIEW_PASSES = len(VIEWS["flip + shifts"])
CHANGE_PASSES = 1 + sum(len(strengths) - 1 for strengths in STRENGTHS.values())


def averaged_views(net, split, names=tuple(VIEWS), *, mean=MEAN, std=STD, predict=None):
    """Return {name: probabilities (n, classes)} for rows of VIEWS: the mean over a row's views of every image."""
    found, rows = {}, {name: VIEWS[name] for name in names}
    for view in dict.fromkeys(view for views in rows.values() for view in views):
        mirrored, down, right = view
        images = moved(split.images.flip(-1) if mirrored else split.images, down, right)
        found[view] = _probabilities(net, images, split.labels, mean, std, predict)
    return {name: torch.stack([found[view] for view in views]).mean(0) for name, views in rows.items()}


def accuracy_of_views(net, split, names=tuple(VIEWS), **how):
    """Return {name: fraction correct} for rows of VIEWS; how is what averaged_views takes."""
    return {name: _accuracy(p, split.labels) for name, p in averaged_views(net, split, names, **how).items()}


def robustness(net, split, *, mean=MEAN, std=STD, predict=None, seed=0):
    """Return the number of images and, for each change, its strengths and the fraction correct under each."""

    def accuracy(images):
        return _accuracy(_probabilities(net, images, split.labels, mean, std, predict), split.labels)

    unchanged, record = accuracy(split.images), {"images": len(split)}
    for name, strengths in STRENGTHS.items():
        changed = [accuracy(CHANGES[name](split.images, strength, seed)) for strength in strengths[1:]]
        record[name] = {"strengths": list(strengths), "accuracy": [unchanged, *changed]}
    return record


def moved(images, down, right):
    """Move pictures (n, c, h, w) by whole pixels; the pixels at the edge they leave are repeated."""
    height, width = images.shape[-2:]
    rows = (torch.arange(height, device=images.device) - down).clamp(0, height - 1)
    columns = (torch.arange(width, device=images.device) - right).clamp(0, width - 1)
    return images[..., rows, :][..., columns]


def shift(images, pixels, seed=0):
    """Move each picture by so many pixels up, down, left or right, as the seed draws for it."""
    index = torch.arange(len(images), device=images.device)
    direction, out = integers(seed, 0, index, "shift", 0, 4), images.clone()
    for number, (down, right) in enumerate(((-1, 0), (1, 0), (0, -1), (0, 1))):
        some = direction == number
        out[some] = moved(images[some], down * pixels, right * pixels)
    return out


def noise(images, levels, seed=0):
    """Add normal noise of this standard deviation, in levels of 255; every strength scales the same noise."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "noise") % 2**63)
    drawn = torch.randn(images.shape, generator=generator).to(images.device)  # drawn alike for every device
    return (images + levels * drawn).round_().clamp_(0, 255).to(torch.uint8)


def jpeg(images, quality, seed=0):
    """Write and read each picture as JPEG of this quality, its colours at half the resolution as is usual."""
    pictures = images.cpu().permute(0, 2, 3, 1).contiguous().numpy()
    read = np.stack([_as_jpeg(picture, quality) for picture in pictures])
    return torch.from_numpy(read).permute(0, 3, 1, 2).contiguous().to(images.device)


CHANGES = {"shift": shift, "noise": noise, "jpeg": jpeg}


def spread_rows(labels, count):
    """Return count rows in order, as many of each class as of any other while there are some: its first ones."""
    labels, rank = labels.cpu(), torch.empty(len(labels), dtype=torch.int64)
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
    return probabilities(net, scores(net, data_iter, predict)[0])


def _accuracy(p, labels):
    return float((p.argmax(1) == labels.cpu()).double().mean())
