"""Owns the assignment's marking scheme as data, and what of it a network and an accuracy meet. Gives no marks."""

from __future__ import annotations

import dataclasses

from utils.models.layers import ACTIVATIONS


@dataclasses.dataclass(frozen=True)
class Task:
    """One of the assignment's tasks: its marks, and what its brief asks for."""

    number: int
    title: str
    marks: int
    asks: str


TASKS = (
    Task(1, "Read the data, make the loaders", 5, "The images read, and loaders that make batches of them."),
    Task(
        2,
        "Create the model",
        40,
        "This model or no marks: N blocks, each a sum of k convolutions weighted by a = g(mean of X, times W); then a "
        "classifier on the mean over the map.",
    ),
    Task(3, "Create loss and optimizer", 5, "A loss and an optimizer, made and explained."),
    Task(
        4,
        "Train the model",
        30,
        "A training script; curves of the loss and of training and validation accuracy; all hyperparameters.",
    ),
    Task(5, "Final model accuracy", 20, "The accuracy on the test images of CIFAR-10, marked in bands."),
)


@dataclasses.dataclass(frozen=True)
class Band:
    """A range of test accuracy and its marks, from `low` (a fraction) up to the next band's."""

    low: float
    low_belongs: bool  # whether exactly `low` is in this band
    words: str
    marks: int


# Highest first. "Over 95 %" leaves 95 % itself to the band below. The brief says of no other boundary to which band it
# belongs; "less" than 70 gets nothing, so 70 itself gets something, and 80 and 85 are read in the same way.
BANDS = (
    Band(0.95, False, "over 95 %", 20),
    Band(0.85, True, "85 to 95 %", 15),
    Band(0.80, True, "80 to 85 %", 10),
    Band(0.70, True, "70 to 80 %", 5),
    Band(0.0, True, "less than 70 %", 0),
)


def band(accuracy):
    """Return the Band of a test accuracy, a fraction."""
    value = round(accuracy, 6)  # a mean in float32 makes 0.94999999 of 0.95
    if not 0 <= value <= 1:
        raise ValueError(f"An accuracy is a fraction from 0 to 1, and {accuracy!r} is not.")
    return next(b for b in BANDS if value > b.low or (b.low_belongs and value == b.low))


def backbone_faults(plan):
    """List in words what keeps a Plan from being the assigned backbone with its classifier; an empty list if nothing.

    More than is asked for is allowed: norms, shortcuts, pooling, several steps in a branch, an MLP for a gate.
    """
    if not plan.blocks:
        return ["it has no gated block"]
    faults = []
    for number, block in enumerate(plan.blocks, 1):
        if not any(word.split()[0] == "conv" for word in block.branch):
            faults.append(f"the branches of block {number} hold no convolution")
        if len(block.kernels) < 2:
            faults.append(f"block {number} has one branch, so that there is nothing to combine")
    first, *rest = [word.split()[0] for word in plan.layers] or [""]
    allowed = {"linear", "norm", "dropout", "softmax", "scale", *ACTIVATIONS}
    if first != "mean" or "linear" not in rest or not allowed.issuperset(rest):
        faults.append("its classifier is not linear layers on the mean over the last block's map")
    return faults


def plain_gates(plan):
    """List the numbers of the blocks whose gate ends without an activation: the 2023 edition asks for one."""
    return [number for number, block in enumerate(plan.blocks, 1) if block.gate == "none"]
