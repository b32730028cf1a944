"""Owns the two tables of runs that reports C and D print: each row as a recipe, beside the figures they give for it."""

from __future__ import annotations

import dataclasses

from utils.data.augment import Affine, ColorJitter, Crop, Flip
from utils.models.blocks import Block, Plan
from utils.recipes.reported import SYSTEMS, Recipe


@dataclasses.dataclass(frozen=True)
class Row:
    """One run of a report's table; reported holds its figures as fractions, not_stated what had to be chosen."""

    number: int
    label: str
    recipe: Recipe
    reported: dict
    not_stated: tuple = ()


# Report C: learning rate, batch, epochs, convolutions, linear layers, optimizer, regularisation, normalisation, test %.
_C = (
    (1e-3, 64, 25, 12, 4, "adam", "no", False, 69),
    (5e-4, 99, 30, 12, 1, "adam", "no", False, 73),
    (5e-4, 99, 30, 12, 1, "sgd", "no", False, 67),
    (5e-4, 99, 30, 12, 3, "adam", "no", False, 73),
    (5e-4, 60, 18, 12, 3, "adam", "no", False, 74),
    (5e-4, 60, 18, 7, 3, "adam", "no", False, 79),
    (5e-4, 60, 30, 6, 3, "adam", "no", False, 80),
    (1e-4, 60, 20, 6, 3, "adam", "no", False, 66),
    (5e-4, 60, 20, 6, 3, "adam", "weight_decay", False, 69),
    (5e-4, 60, 20, 5, 3, "adam", "weight_decay", False, 66),
    (5e-4, 60, 20, 5, 3, "adam", "dropout", False, 80),
    (5e-4, 60, 20, 7, 3, "adam", "dropout", False, 81),
    (5e-4, 60, 20, 8, 3, "adam", "dropout", False, 81),
    (5e-4, 60, 20, 8, 3, "adam", "dropout", True, 83),
    (5e-4, 60, 20, 8, 3, "adam", "no", True, 84),
)
C_NOT_STATED = (
    "Widths and strides of other than five convolutions: the code's 32 to 512 are spread over them, each repeated.",
    "Widths of all but three linear layers: 512, 256 and, for four, 128 before the last.",
    "The strength of the weight decay (report D's 1e-4 is taken), dropout as in the code; SGD with momentum 0.9.",
)
LADDER = (32, 64, 128, 256, 512)  # the widths of report C's code


def plain_plan(convs, linears, norm, dropout):
    """Return report C's network with other numbers of layers; with 5, 3, True, True it is that of its code."""
    words = []
    for i in range(convs):
        width, before = (LADDER[j * len(LADDER) // convs] for j in (i, max(0, i - 1)))
        words.append(f"conv {width} stride 2" if (before, width) == (32, 64) else f"conv {width}")
        words += ["relu", "norm"] if norm else ["relu"]
        words += ["dropout 0.2"] if dropout and i == convs - 2 else []
    words += ["average 2", "flatten"]
    for width in (512, 256, 128)[: linears - 1]:
        words += [f"linear {width}", "relu"]
    return Plan(layers=(*words, "linear 10"))


def _c_row(number, lr, batch_size, epochs, convs, linears, optimizer, regularised, norm, percent):
    settings = {"momentum": 0.9} if optimizer == "sgd" else {}
    settings |= {"weight_decay": 1e-4} if regularised == "weight_decay" else {}
    recipe = SYSTEMS["plain_cnn"].change(
        name=f"plain_cnn_c{number:02d}",
        network=plain_plan(convs, linears, norm, regularised == "dropout"),
        lr=lr,
        batch_size=batch_size,
        num_epochs=epochs,
        optimizer=optimizer,
        optimizer_settings=settings,
        reported={"test_acc": percent / 100},
        not_stated=C_NOT_STATED,
    )
    label = f"{convs} convolutions, {linears} linear; {optimizer}, lr {lr:g}, batch {batch_size}, {epochs} epochs"
    label += {"no": "", "dropout": "; dropout", "weight_decay": "; weight decay"}[regularised] + "; norm" * norm
    return Row(number, label, recipe, recipe.reported, C_NOT_STATED)


C_ROWS = tuple(_c_row(number, *row) for number, row in enumerate(_C, 1))


# Report D, from its first version on. What a version changes stays until the next changes it.
_CUT = ("conv pad 0",)
_CUT_POOL = ("conv pad 0", "relu", "pool 2 stride 1")
_CUT_NORM = ("conv pad 0", "norm", "relu", "pool 2 stride 1")
_HALVE = ("conv", "norm", "relu", "pool 2", "dropout 0.2")
_NORMALISED, _JITTERED = (), (Affine(scale=(0.9, 1.1), degrees=10), Flip(), ColorJitter(0.1, 0.1, 0.1))
_TURNED = (Flip(), Crop(4), Affine(degrees=15))
_MLP = ("mean", "linear 512", "relu", "linear 128", "relu", "linear 10")
_LINEAR = ("mean", "linear 10")
_WIDE = (3, 64, 128, 256, 512)
_NESTED = ((3, 128, 256), (256, 512, 1028))
# Version, name, augmentation, k, widths of each block, kernel, layers of a branch, head, lr, optimizer, schedule,
# batch, epochs, then training and test loss, training and test accuracy (%), None where the table has none.
_D = (
    ("v0.2.2", "Xavier init", _NORMALISED, 5, (3, 16, 32, 64, 128), 5, _CUT, _LINEAR)
    + (1e-4, "adam", "constant", 64, 50, 1.41, 1.47, None, 48.7),
    ("v0.3.0", "AdamW", _NORMALISED, 5, (3, 4, 8, 16, 32), 5, _CUT, _LINEAR)
    + (1e-3, "adamw", "constant", 64, 40, 1.47, 1.52, None, 47.1),
    ("v0.4.0", "linear channels", _NORMALISED, 5, (3, 5, 7, 9, 11), 7, _CUT, _LINEAR)
    + (1e-3, "adamw", "constant", 64, 40, 1.44, 1.48, None, 48.19),
    ("v0.5.0", "conv + ReLU + max-pool", _NORMALISED, 3, (3, 32, 64, 128, 256, 512), 3, _CUT_POOL, _LINEAR)
    + (1e-4, "adamw", "constant", 64, 40, 0.37, 0.69, None, 77.7),
    ("v0.5.1", "batch norm", _NORMALISED, 3, _WIDE, 3, _CUT_NORM, _LINEAR)
    + (1e-3, "adamw", "constant", 64, 20, 0.24, 0.52, 85.3, 82.76),
    ("v0.5.4", "augmentation, dropout, MLP head", _JITTERED, 3, (3, 128, 256, 512, 1028), 3, _HALVE, _MLP)
    + (1e-4, "adamw", "constant", 128, 40, 0.11, 0.78, 92.42, 80.75),
    ("v0.5.5", "StepLR", _JITTERED, 3, _WIDE, 3, _HALVE, _LINEAR)
    + (1e-3, "adamw", "step", 256, 40, 0.32, 0.41, 89.04, 86.52),
    ("v0.5.6", "CyclicLR", _TURNED, 3, _WIDE, 3, _HALVE, _LINEAR)
    + (1e-3, "adamw", "cyclic", 256, 41, None, None, None, 88.6),
    ("v0.5.7", "OneCycleLR", _TURNED, 3, (*_WIDE, 1028), 3, _HALVE, _LINEAR)
    + (1e-3, "adamw", "one_cycle", 256, 40, 0.21, 0.41, 92.62, 87.41),
    ("v0.5.8", "ReduceLROnPlateau", _TURNED, 3, (*_WIDE, 1028), 3, _HALVE, _LINEAR)
    + (1e-3, "adamw", "plateau", 256, 40, 0.17, 0.37, 94.06, 88.73),
    ("v0.5.9", "PolyLR + CyclicLR", _TURNED, 3, (*_WIDE, 1028), 3, _HALVE, _LINEAR)
    + (1e-3, "adamw", "sequential", 256, 52, 0.32, 0.49, 88.71, 84.73),
    ("v0.5.10", "ReduceLROnPlateau", _TURNED, 3, _WIDE, 3, _HALVE, _LINEAR)
    + (1e-3, "adamw", "plateau", 256, 62, 0.25, 0.32, 91.19, 89.46),
    ("v0.5.11", "ReduceLROnPlateau", _TURNED, 3, (*_WIDE, 1028), 3, _HALVE, _LINEAR)
    + (1e-3, "adamw", "plateau", 256, 100, 0.25, 0.32, 91.2, 89.47),
    ("v0.6.0", "deeper branches", _TURNED, 3, ((3, 16, 32), (32, 64, 128)), 3, _HALVE, _LINEAR)
    + (1e-3, "adamw", "plateau", 256, 60, 0.33, 0.42, 88.66, 86.03),
    ("v0.6.1", "deeper branches II", _TURNED, 3, ((3, 64), (64, 128, 512)), 3, ("conv pad 0", *_HALVE[1:]), _LINEAR)
    + (1e-3, "adamw", "plateau", 256, 80, 0.36, 0.38, 87.5, 87.59),
    ("v0.6.2", "ResNet", _TURNED, 3, ((3, 64, 128, 256, 512),), 3, _HALVE, _LINEAR)
    + (1e-2, "adamw", "one_cycle", 256, 10, 0.91, 1.27, 68.27, 58.46),
    ("v0.6.3", "deeper branches III", _TURNED, 3, _NESTED, 3, _HALVE, _LINEAR)
    + (1e-3, "adamw", "plateau", 256, 60, 0.12, 0.30, 95.8, 90.35),
    ("v0.6.5", "deeper branches IV", _TURNED, 3, _NESTED, 2, _HALVE, _LINEAR)
    + (1e-3, "adamw", "plateau", 256, 200, 0.14, 0.33, 95.148, 91.38),
    ("v0.6.6", "deeper branches V", _TURNED, 3, _NESTED, 3, _HALVE, _LINEAR)
    + (1e-3, "adamw", "plateau", 256, 90, 0.21, 0.32, 92.686, 90.51),
)
D_NOT_STATED = (
    "Strengths of the augmentations; which rows an entry in the augmentation column covers (it stays until the next).",
    "Settings of the schedules; dropout before v0.5.4 (none) and whether the sum is normalised before v0.5.1 (no).",
    "Clipping (by value, 0.1, from the tables of the final version) and weight decay (1e-4) of the early versions.",
)
POLY_THEN_CYCLIC = {"first": "polynomial", "then": "cyclic", "share": 0.5}
D_NOT_STATED_BY_VERSION = {
    "v0.2.2": ("k and the batch size are cut off in the table: 5 and 64 are taken.",),
    "v0.5.9": ("How its two schedules follow each other: each has half of the run, polynomial first.",),
    "v0.6.0": ("Maps of 32, 8 and 2 pixels: each of the two layers halves, as in v0.6.3.",),
    "v0.6.2": (
        "What its ResNet is: one block whose stacked branches get a 1x1 shortcut, averaged to their map's size.",
    ),
}


def _d_row(number, version, name, augment, k, widths, kernel, branch, head, *rest):
    lr, optimizer, schedule, batch_size, epochs, *figures = rest
    steps = widths if isinstance(widths[0], tuple) else tuple(zip(widths, widths[1:], strict=False))
    shortcut = ("conv 1x1", "norm", "average 2") if name == "ResNet" else None
    after = ("norm",) if "norm" in branch else ()
    blocks = tuple(Block(step, (kernel,) * k, "sigmoid", (), branch, shortcut, after) for step in steps)
    names = ("train_loss", "test_loss", "train_acc", "test_acc")
    scale = {"train_acc": 100, "test_acc": 100}
    reported = {n: value / scale.get(n, 1) for n, value in zip(names, figures, strict=True) if value is not None}
    recipe = SYSTEMS["sigmoid_gated"].change(
        name=f"sigmoid_gated_d{number:02d}",
        network=Plan(blocks, head, "xavier_uniform"),
        augment=augment,
        lr=lr,
        optimizer=optimizer,
        schedule=schedule,
        schedule_settings=POLY_THEN_CYCLIC if schedule == "sequential" else {},
        batch_size=batch_size,
        num_epochs=epochs,
        reported=reported,
        not_stated=(*D_NOT_STATED, *D_NOT_STATED_BY_VERSION.get(version, ())),
    )
    return Row(number, f"{version} {name}", recipe, reported, recipe.not_stated)


D_ROWS = tuple(_d_row(number, *row) for number, row in enumerate(_D, 1))
