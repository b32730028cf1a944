"""Efforts: how much of a recipe is run. `check` takes seconds, `demo` minutes, and `full` runs the whole recipe.

effort = choose_effort()  # the one named in COURSEWORK_EFFORT, else full on a GPU and demo on a CPU
images, num_epochs = effort.cut(data, num_epochs, macs_per_image)
"""

from __future__ import annotations

import dataclasses
import os

import torch

from utils.errors import CourseworkError

MIN_EPOCHS = 3  # so that a learning curve has a few points
MIN_IMAGES = 100  # so that each of ten classes has a few images
BACKWARD = 3  # a training step costs about three times the forward pass


@dataclasses.dataclass(frozen=True)
class Effort:
    """A limit on a training: the total number of multiply-adds, or images and epochs; None means no limit.

    The limit is in multiply-adds and not in seconds, so that a training is the same on every machine.
    """

    name: str
    macs: float | None = None
    images: int | None = None
    epochs: int | None = None

    def cut(self, data, num_epochs: int, macs_per_image: int):
        """Return (data, epochs) within the limit; macs_per_image are the multiply-adds of a forward pass."""
        images = len(data.train)
        epochs = num_epochs
        if self.macs is not None:
            passes = int(self.macs / (BACKWARD * macs_per_image))  # of one image, forward and backward
            epochs = min(num_epochs, max(MIN_EPOCHS, passes // images))
            images = min(images, max(MIN_IMAGES, passes // epochs))
        images = min(images, self.images or images)
        epochs = min(epochs, self.epochs or epochs)
        if images == len(data.train):
            return data, epochs
        test_images = min(len(data.test), max(MIN_IMAGES, images // 5))
        train, test = evenly_spaced(data.train, images), evenly_spaced(data.test, test_images)
        return dataclasses.replace(data, train=train, test=test), epochs


EFFORTS = {
    effort.name: effort
    for effort in (
        Effort("check", images=200, epochs=2),  # seconds: what continuous integration runs
        Effort("demo", macs=3e12),  # half a minute to a minute on two CPU cores
        Effort("full"),  # the recipe's own epochs on all images: for a GPU
    )
}


def choose_effort(name: str | None = None, device="cpu") -> Effort:
    """Return the effort named here or in COURSEWORK_EFFORT; without a name, full on a GPU and demo on a CPU."""
    where = None
    if name is None and os.environ.get("COURSEWORK_EFFORT"):
        name = os.environ["COURSEWORK_EFFORT"]
        where = "COURSEWORK_EFFORT"
    elif name is None:
        name = "full" if torch.device(device).type == "cuda" else "demo"
    if name not in EFFORTS:
        next_step = f"Choose one of {', '.join(EFFORTS)}."
        raise CourseworkError(f"There is no effort {name!r}.", where=where, next_step=next_step)
    return EFFORTS[name]


def evenly_spaced(split, count: int):
    """Return count images spread evenly over a split, so that all classes are there even if it is sorted by class."""
    rows = torch.arange(count) * len(split) // count
    return split.subset(rows.to(split.images.device))
