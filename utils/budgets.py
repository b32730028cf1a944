"""Owns how much of a recipe is run: a few seconds, a few minutes, or all of it. Trains nothing."""

from __future__ import annotations

import dataclasses
import os

import torch

from utils.errors import CourseworkError


@dataclasses.dataclass(frozen=True)
class Budget:
    """How many of the training and test images are used, and for how many epochs at most; None means all."""

    name: str
    train_images: int | None = None
    test_images: int | None = None
    epochs: int | None = None

    def cut(self, data, num_epochs):
        """Return the data and the number of epochs that this budget allows."""
        splits = {"train": (data.train, self.train_images), "test": (data.test, self.test_images)}
        smaller = {name: _first(split, most) for name, (split, most) in splits.items() if most and most < len(split)}
        epochs = num_epochs if self.epochs is None else min(self.epochs, num_epochs)
        return (dataclasses.replace(data, **smaller) if smaller else data), epochs


BUDGETS = {
    budget.name: budget
    for budget in (
        Budget("smoke", 240, 200, 2),  # CI: seconds
        Budget("quick", 5000, 1000, 3),  # a CPU: a minute or two for a network of the reports' size
        Budget("full"),  # a GPU: the recipe's own epochs on all images
    )
}


def choose_budget(name=None, device="cpu"):
    """Return the budget named here or in COURSEWORK_BUDGET, else full on a GPU and quick on a CPU."""
    name = name or os.environ.get("COURSEWORK_BUDGET") or ("full" if torch.device(device).type == "cuda" else "quick")
    if name not in BUDGETS:
        where = "COURSEWORK_BUDGET" if name == os.environ.get("COURSEWORK_BUDGET") else None
        raise CourseworkError(f"There is no budget {name!r}.", where=where, next_step=f"Choose {', '.join(BUDGETS)}.")
    return BUDGETS[name]


def _first(split, count):
    """Return count images spread evenly over a split, so that one sorted by class still gives all classes."""
    rows = torch.arange(count) * len(split) // count
    return split.subset(rows.to(split.images.device))
