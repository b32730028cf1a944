"""The tables of runs in reports C and D: each row as a recipe, with the figures that the report gives for it.

The rows are in report_c.csv and report_d.csv; this module turns them into recipes.
"""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

from utils.data.augment import Affine, ColorJitter, Crop, Flip
from utils.recipes.recipe import Recipe
from utils.recipes.reported import SYSTEMS


@dataclasses.dataclass(frozen=True)
class Row:
    """One run of a report's table: reported contains its figures as fractions, not_stated the details chosen here."""

    number: int
    label: str
    recipe: Recipe
    reported: dict
    not_stated: tuple = ()


def read_csv(name: str) -> list[dict]:
    """Return the rows of a CSV file beside this module, each as {column: text}."""
    with open(Path(__file__).with_name(name), encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


C_NOT_STATED = (
    "Channels and strides of networks that do not have five convolutions: the code's channels, 32 to 512, are spread"
    " over the convolutions, and some are repeated.",
    "The widths of the linear layers, except in networks with three: 512, 256 and, with four layers, 128.",
    "The strength of the weight decay (report D's 1e-4 is used), dropout as in the code; SGD with momentum 0.9.",
)


def row_of_c(number: int, row: dict) -> Row:
    """Return a row of report C's table."""
    has_norm = row["batch_norm"] == "yes"
    has_dropout = row["regularisation"] == "dropout"
    settings = {}
    if row["optimizer"] == "sgd":
        settings["momentum"] = 0.9
    if row["regularisation"] == "weight decay":
        settings["weight_decay"] = 1e-4
    recipe = SYSTEMS["plain_cnn"].change(
        name=f"plain_cnn_c{number:02d}",
        network="plain_cnn_variant",
        network_settings={
            "convolutions": int(row["convolutions"]),
            "linear_layers": int(row["linear_layers"]),
            "batch_norm": has_norm,
            "dropout": has_dropout,
        },
        lr=float(row["lr"]),
        batch_size=int(row["batch_size"]),
        num_epochs=int(row["epochs"]),
        optimizer=row["optimizer"],
        optimizer_settings=settings,
        reported={"test_acc": float(row["test_acc_percent"]) / 100},
        not_stated=C_NOT_STATED,
    )
    label = f"{row['convolutions']} convolutions, {row['linear_layers']} linear; {row['optimizer']}, lr {row['lr']}"
    label += f", batch {row['batch_size']}, {row['epochs']} epochs"
    if row["regularisation"] != "none":
        label += f"; {row['regularisation']}"
    if has_norm:
        label += "; norm"
    return Row(number, label, recipe, recipe.reported, C_NOT_STATED)


# A setting that a version of report D changes stays in the later versions until one of them changes it again.
D_AUGMENTATIONS = {
    "none": (),
    "affine flip jitter": (Affine(scale=(0.9, 1.1), degrees=10), Flip(), ColorJitter(0.1, 0.1, 0.1)),
    "flip crop affine": (Flip(), Crop(4), Affine(degrees=15)),
}
D_NOT_STATED = (
    "Strengths of the augmentations; which rows an entry in the augmentation column covers (it stays until the next).",
    "Settings of the schedules; dropout before v0.5.4 (none) and whether the sum is normalised before v0.5.1 (no).",
    "Clipping (by value, 0.1, from the tables of the final version) and weight decay (1e-4) of the early versions.",
)
POLY_THEN_CYCLIC = {"first": "polynomial", "then": "cyclic", "share": 0.5}
D_NOT_STATED_BY_VERSION = {
    "v0.2.2": ("k and the batch size are cut off in the table: 5 and 64 are used.",),
    "v0.5.9": ("How its two schedules follow each other: each has half of the run, polynomial first.",),
    "v0.6.0": ("Maps of 32, 8 and 2 pixels: each of the two layers halves the map, as in v0.6.3.",),
    "v0.6.2": (
        "The structure of its ResNet: here one block with a 1x1 convolution as shortcut, averaged to the size of the"
        " branches' map.",
    ),
}


def branch_settings(branch: str) -> dict:
    """Return the settings of sigmoid_gated_variant for the layers of a branch, as the table lists them."""
    layers = branch.split(", ")
    pool = "none"
    if "overlapping pool" in layers:
        pool = "overlap"
    elif "pool" in layers:
        pool = "half"
    return {
        "padded": layers[0] == "conv",
        "batch_norm": "norm" in layers,
        "relu": "relu" in layers,
        "pool": pool,
        "dropout": 0.2 if "dropout" in layers else 0.0,
    }


def row_of_d(number: int, row: dict) -> Row:
    """Return a row of report D's table."""
    reported = {name: float(row[name]) for name in ("train_loss", "test_loss") if row[name]}
    for name in ("train_acc", "test_acc"):
        if row[f"{name}_percent"]:
            reported[name] = float(row[f"{name}_percent"]) / 100
    settings = {
        "blocks": tuple(tuple(map(int, block.split("-"))) for block in row["blocks"].split()),
        "k": int(row["k"]),
        "kernel_size": int(row["kernel_size"]),
        **branch_settings(row["branch"]),
        "hidden": tuple(map(int, row["hidden"].split())),
        "residual": row["name"] == "ResNet",
    }
    recipe = SYSTEMS["sigmoid_gated"].change(
        name=f"sigmoid_gated_d{number:02d}",
        network="sigmoid_gated_variant",
        network_settings=settings,
        augment=D_AUGMENTATIONS[row["augmentation"]],
        lr=float(row["lr"]),
        optimizer=row["optimizer"],
        schedule=row["schedule"],
        schedule_settings=POLY_THEN_CYCLIC if row["schedule"] == "sequential" else {},
        batch_size=int(row["batch_size"]),
        num_epochs=int(row["epochs"]),
        reported=reported,
        not_stated=(*D_NOT_STATED, *D_NOT_STATED_BY_VERSION.get(row["version"], ())),
    )
    return Row(number, f"{row['version']} {row['name']}", recipe, reported, recipe.not_stated)


C_ROWS = tuple(row_of_c(number, row) for number, row in enumerate(read_csv("report_c.csv"), start=1))
D_ROWS = tuple(row_of_d(number, row) for number, row in enumerate(read_csv("report_d.csv"), start=1))
