"""What is tried on held-out images: alternatives to `best_gated`, and to what reports A, B and D leave unsaid.

`make reproduce ARGS="--choices"` trains each of them on 90 % of the training images and measures it on the other 10 %.
The test images are not read, so that a choice among the alternatives says nothing about them.
"""

from __future__ import annotations

from utils.data.augment import Affine, AlternatingFlip, ColorJitter, Crop, Cutout, Flip, Mixup, RandAugment, Shrink
from utils.recipes.ours import OURS
from utils.recipes.recipe import Recipe
from utils.recipes.reported import HALF, SYSTEMS, WITHOUT_SOFTMAX


def alternative(base: Recipe, suffix: str, network: dict | None = None, **changes) -> Recipe:
    """Return the recipe with these network settings and other fields changed, under a name with the suffix."""
    settings = base.network_settings | (network or {})
    return base.change(name=f"{base.name}_{suffix}", network_settings=settings, reported={}, not_stated=(), **changes)


BEST = OURS["best_gated"].change(views="plain")  # a choice is made by single predictions
A, D = SYSTEMS["softmax_gated"], SYSTEMS["sigmoid_gated"]
B = WITHOUT_SOFTMAX  # the network that report B's figures can be of

THREE = {"kernel_sizes": (3, 3, 3)}
COOLED = {"temperature": 30.0, "cooling": 1 / 3}  # as in dynamic convolution, in the first third of the epochs
SINGLE = BEST.augment[:-1]  # without CutMix, so each image is of a single class
# Half the training, which needs less augmentation and more label smoothing: the recipe in version 1.0.
HALF_AS_LONG = {
    "num_epochs": 30,
    "augment": (AlternatingFlip(), Crop(3, "reflect"), Cutout(8), Shrink(24, epochs=21)),
    "loss_settings": {"label_smoothing": 0.2},
}
RANDOM = (AlternatingFlip(), Crop(3, "reflect"), RandAugment(2, 9), *BEST.augment[2:])

# {name of a system: {what is changed: recipe}}; the first one is the recipe as it is.
CHOICES = {
    "best_gated": {
        "as in the recipe": BEST,
        "branches of 3x3, 5x5 and 1x1": alternative(BEST, "kernels_3_5_1", {"kernel_sizes": (3, 5, 1)}),
        "three branches of 3x3": alternative(BEST, "three", THREE),
        "MLP gates": alternative(BEST, "mlp", {"gate": "mlp"}),
        "gates cooled from 30 to 1": alternative(BEST, "cooled", COOLED),
        "two branches of 3x3, two of 1x1, cooled MLP gates": alternative(
            BEST, "dynamic", {"kernel_sizes": (3, 3, 1, 1), "gate": "mlp", **COOLED}
        ),
        "three branches of 3x3, cooled MLP gates": alternative(
            BEST, "three_dynamic", {**THREE, "gate": "mlp", **COOLED}
        ),
        "Mixup in place of CutMix": alternative(BEST, "mixup", augment=(*SINGLE, Mixup(0.2))),
        "no CutMix": alternative(BEST, "single", augment=SINGLE),
        "RandAugment": alternative(BEST, "rand_augment", augment=RANDOM),
        "30 epochs, no CutMix, more label smoothing": alternative(BEST, "half", **HALF_AS_LONG),
    },
    "softmax_gated": {
        "as in the recipe": A,
        "weight decay 1e-5": alternative(A, "decay_5", optimizer_settings={"weight_decay": 1e-5}),
        "stronger colour jitter": alternative(A, "jitter", augment=(*A.augment[:2], ColorJitter(0.4, 0.4, 0.4))),
        "crops by two pixels": alternative(A, "crop", augment=(A.augment[0], Crop(2), A.augment[2])),
        "maps are halved after blocks 2, 5 and 8 only": alternative(A, "halving", {"halving": (2, 5, 8)}),
        "more channels in the first blocks": alternative(
            A, "channels", {"channels": (3, 64, 64, 128, 128, 256, 256, 512, 512, 1024, 1024)}
        ),
        "weight decay 1e-5, maps are halved after blocks 2, 5 and 8 only": alternative(
            A, "decay_5_halving", {"halving": (2, 5, 8)}, optimizer_settings={"weight_decay": 1e-5}
        ),
    },
    "shortcut_gated_logits": {
        "as in the recipe": B,
        "images mirrored at random": alternative(B, "mirrored", augment=(Flip(),)),
        "batches of 100": alternative(B, "batch_100", batch_size=100),
        "mean and standard deviation 0.5": alternative(B, "half", mean=HALF, std=HALF),
        "two branches": alternative(B, "two", {"k": 2}),
        "gates with a sigmoid": alternative(B, "sigmoid", {"gate": "sigmoid"}),
        "MLP gates": alternative(B, "mlp", {"gate": "mlp"}),
        "maps are halved after blocks 2, 5 and 8 only": alternative(B, "halving", {"halving": (2, 5, 8)}),
    },
    "sigmoid_gated": {
        "as in the recipe": D,
        "batches of 256": alternative(D, "batch_256", batch_size=256),
        "gradient clipped by its norm": alternative(D, "norm", clip_value=None, clip_norm=0.1),
        "plateau with factor 0.5 and patience 5": alternative(
            D, "plateau", schedule_settings={"factor": 0.5, "patience": 5}
        ),
        "rotations up to 5 degrees": alternative(D, "rotation", augment=(*D.augment[:2], Affine(degrees=5))),
        "crops by two pixels": alternative(D, "crop", augment=(D.augment[0], Crop(2), D.augment[2])),
    },
}
