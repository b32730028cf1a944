"""The assignment's marking scheme as data, and checks of a network and an accuracy against it. It gives no marks."""

from __future__ import annotations

import dataclasses
import math
import re


@dataclasses.dataclass(frozen=True)
class Task:
    """One of the assignment's tasks: its marks and its requirements."""

    number: int
    title: str
    marks: int
    asks: str


TASKS = (
    Task(1, "Read the data, make the loaders", 5, "The images are read, and data loaders make batches of them."),
    Task(
        2,
        "Create the model",
        40,
        "The assigned architecture, or no marks: N blocks, each a sum of k convolutions that are weighted by "
        "a = g(mean of X, times W), then a classifier on the mean over the map.",
    ),
    Task(3, "Create loss and optimizer", 5, "A loss and an optimizer are created and explained."),
    Task(
        4,
        "Train the model",
        30,
        "A training script, curves of the loss and of the training and validation accuracy, and all hyperparameters.",
    ),
    Task(5, "Final model accuracy", 20, "The accuracy on the test images of CIFAR-10, marked in bands."),
)


@dataclasses.dataclass(frozen=True)
class Band:
    """A range of test accuracy and its marks, from `low` (a fraction) up to the next band."""

    low: float
    includes_low: bool  # whether an accuracy of exactly `low` is in this band
    name: str
    marks: int


# Highest first. "Over 95 %" means that 95 % itself belongs to the band below. The brief does not state to which band
# the other boundaries belong. "Less than 70" gets no marks, so 70 itself gets some; 80 and 85 are treated in the same
# way.
BANDS = (
    Band(0.95, False, "over 95 %", 20),
    Band(0.85, True, "85 to 95 %", 15),
    Band(0.80, True, "80 to 85 %", 10),
    Band(0.70, True, "70 to 80 %", 5),
    Band(0.0, True, "less than 70 %", 0),
)


def band(accuracy: float) -> Band:
    """Return the Band of a test accuracy, a fraction."""
    value = round(accuracy, 6)  # a mean in float32 turns 0.95 into 0.94999999
    if not 0 <= value <= 1:
        raise ValueError(f"An accuracy is a fraction from 0 to 1, but this one is {accuracy!r}.")
    return next(b for b in BANDS if value > b.low or (b.includes_low and value == b.low))


def backbone_faults(network: dict) -> list[str]:
    """List the reasons why a network, given by its summary, is not the assigned architecture; empty if it is.

    Additions are allowed: norms, shortcuts, pooling, several layers in a branch, an MLP as the gate.
    """
    layers = network["layers"]
    gated = [position for position, layer in enumerate(layers) if layer["gated"]]
    if not gated and network.get("gates"):
        return ["its gate is not part of a separate block, so the structure has to be judged from its source text"]
    if not gated:
        return ["it has no gated block"]
    faults = []
    for position in gated:
        block = layers[position]["gated"]
        if not re.search(r"\bconv", block["branches"] or "", re.IGNORECASE):
            faults.append(f"the branches of {layers[position]['name']} hold no convolution")
        if block["k"] < 2:
            faults.append(f"{layers[position]['name']} has a single branch, so there is nothing to combine")
    if not _is_classifier(layers[gated[-1] :]):
        faults.append("its classifier is not a mean over the last block's map followed by linear layers")
    return faults


def _is_classifier(layers):
    """Return True if the layers after a gated block are linear layers on the mean over its map."""
    block, *layers = layers
    channels = (block["shape"] or [0])[0]
    linear = [layer for layer in layers if layer["kind"] == "linear"]
    if not linear or any(layer["kind"] == "conv" for layer in layers):
        return False
    # The mean may be computed in forward() without a layer. But only if the input is one number per channel does the
    # first linear layer need this number of multiply-adds.
    if linear[0]["macs"] != channels * linear[0]["shape"][-1]:
        return False
    pools = [layer for layer in layers if layer["kind"] == "pool" and math.prod(layer["shape"]) == channels]
    return not any("max" in layer["text"].lower() for layer in pools)
