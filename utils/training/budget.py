"""Owns how much of a recipe is run: a few seconds, a minute or so, or all of it. Trains nothing."""

from __future__ import annotations

import dataclasses
import os

import torch

from utils.errors import CourseworkError

LEAST_EPOCHS, LEAST_IMAGES = 3, 100  # a curve needs points, and ten classes need images
BACKWARD = 3  # a training step costs about three times the forward pass


@dataclasses.dataclass(frozen=True)
class Budget:
    """A limit on a training: multiply-adds in all, or else images and epochs; None means no limit.

    Multiply-adds and not seconds, so that the same training comes out the same on every machine.
    """

    name: str
    macs: float | None = None
    images: int | None = None
    epochs: int | None = None

    def cut(self, data, num_epochs, macs_per_image):
        """Return (data, epochs) within the budget, for a network with these multiply-adds in a forward pass."""
        images, epochs = len(data.train), num_epochs
        if self.macs is not None:
            passes = int(self.macs / (BACKWARD * macs_per_image))  # of one image, forward and backward
            epochs = min(num_epochs, max(LEAST_EPOCHS, passes // images))
            images = min(images, max(LEAST_IMAGES, passes // epochs))
        images, epochs = min(images, self.images or images), min(epochs, self.epochs or epochs)
        if images == len(data.train):
            return data, epochs
        test_images = min(len(data.test), max(LEAST_IMAGES, images // 5))
        return dataclasses.replace(data, train=first(data.train, images), test=first(data.test, test_images)), epochs


BUDGETS = {
    budget.name: budget
    for budget in (
        Budget("smoke", images=200, epochs=2),  # CI: seconds
        Budget("taste", macs=1e12),  # about ten seconds on two CPU cores
        Budget("quick", macs=3e12),  # half a minute to a minute there
        Budget("full"),  # the recipe's own epochs on all images: for a GPU
    )
}


def choose_budget(name=None, device="cpu"):
    """Return the budget named here or in COURSEWORK_BUDGET, else full on a GPU and quick on a CPU."""
    name = name or os.environ.get("COURSEWORK_BUDGET") or ("full" if torch.device(device).type == "cuda" else "quick")
    if name not in BUDGETS:
        where = "COURSEWORK_BUDGET" if name == os.environ.get("COURSEWORK_BUDGET") else None
        raise CourseworkError(f"There is no budget {name!r}.", where=where, next_step=f"Choose {', '.join(BUDGETS)}.")
    return BUDGETS[name]


def first(split, count):
    """Return count images spread evenly over a split, so that one sorted by class still gives all classes."""
    rows = torch.arange(count) * len(split) // count
    return split.subset(rows.to(split.images.device))
