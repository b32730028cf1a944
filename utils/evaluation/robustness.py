"""Accuracy on changed test images: test-time augmentation (TTA); shifts, noise and JPEG; and CIFAR-10-C.

table, mean = corruption_accuracy(net, data.test, count=1000)

Pixels are changed as uint8, before they are normalised.
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd
import torch
from torch import nn

from utils.data.cifar10 import Split
from utils.data.counter_rng import derive_seed, integers
from utils.data.loader import MEAN, STD, BatchLoader
from utils.errors import require
from utils.evaluation.cifar10_c import corrupted_images, names_of_corruptions, source_of_corruptions
from utils.evaluation.corruptions import jpeg
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


def corruption_accuracy(
    net: nn.Module,
    split: Split,
    *,
    count: int | None = None,
    corruptions: Iterable | None = None,
    severities: Iterable = range(1, 6),
    mean=MEAN,
    std=STD,
    predict=None,
    seed: int = 0,
) -> tuple[pd.DataFrame, float]:
    """Return the table of accuracies on CIFAR-10-C, corruption x severity, and their mean, the corruption accuracy.

    The images of split are corrupted as in CIFAR-10-C. If the environment variable CIFAR10_C_ROOT names the folder of
    the published arrays, these are used in place of split. count: how many images, equally many of each class.
    corruptions: their names; by default all that are available. severities: by default all five. table.attrs tells the
    source and the number of images.
    """
    table = pd.DataFrame(columns=list(severities), dtype=float).rename_axis(index="corruption", columns="severity")
    require(len(table.columns) > 0, "severities is empty.", "severities=[]", "Leave it out to use all five.")
    for name in names_of_corruptions(corruptions):
        accuracies = []
        for severity in table.columns:
            images, labels = corrupted_images(split, name, severity, count, seed)
            accuracies.append(_accuracy(_probabilities(net, images, labels, mean, std, predict), labels))
        table.loc[name] = accuracies
    table.attrs |= {"images": len(labels), "source": source_of_corruptions()}
    return table, float(table.to_numpy().mean())


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


CHANGES = {"shift": shift, "noise": noise, "jpeg": jpeg}


def _probabilities(net, images, labels, mean, std, predict):
    data_iter = BatchLoader(Split(images, labels), BATCH_SIZE, mean=mean, std=std)
    return probabilities(scores(net, data_iter, predict)[0])


def _accuracy(p, labels):
    return float((p.argmax(1) == labels.cpu()).double().mean())
