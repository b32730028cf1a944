"""Our own recipes and their ablations without the gate; find_system finds any recipe by its name."""

from __future__ import annotations

from utils.data.augment import AlternatingFlip, Crop, CutMix, Cutout, Shrink
from utils.errors import CourseworkError
from utils.recipes.recipe import Recipe
from utils.recipes.reported import SYSTEMS, WITHOUT_SOFTMAX

# Our recipes take few, large training steps. The first layer whitens patches, and only its bias is trained. Kernels are
# initialised as the identity and keep their norm; batch norms have no trained scale. Every image is mirrored in every
# second epoch, and shrunk in the first epochs, which then take half the time. Muon makes orthogonal steps. The
# parameters that are trained by SGD need large learning rates, above all the biases of batch norms.
SHORT = {
    "augment": (AlternatingFlip(), Crop(2, "reflect"), Shrink(24, epochs=8)),
    "batch_size": 2000,
    "loss_settings": {"label_smoothing": 0.2},
    "optimizer": "muon",
    "lr": 0.24,
    "optimizer_settings": {
        "momentum": 0.6,
        "ns_steps": 3,
        "fixed_norm": True,
        "norm_lr": 106.0,
        "sgd_lr": 1.66,
        "sgd_momentum": 0.85,
        "sgd_weight_decay": 0.0024,
    },
    "schedule": "linear",
    "views": "flip + shifts",
}
# Kernels keep their norm, but the weights of a gate grow with each step. With the learning rate of the kernels, a gate
# would soon give all weight to one branch, so its linear layer has a smaller learning rate.
GATED_SETTINGS = SHORT["optimizer_settings"] | {"linear_lr": 0.02}
SMALL = SHORT | {  # smaller batches, so that an epoch of a few thousand images has several, and learning rates for them
    "augment": (AlternatingFlip(), Crop(2, "reflect"), Shrink(24, epochs=5)),
    "batch_size": 1000,
    "optimizer_settings": GATED_SETTINGS | {"norm_lr": 50.0, "sgd_lr": 1.5, "sgd_weight_decay": 0.0},
}
# A larger network that is trained longer would memorise the images: stronger augmentation, and mixed images with their
# mixed labels. These are less certain already, so the labels are smoothed less.
STRONG = SHORT | {
    "augment": (AlternatingFlip(), Crop(3, "reflect"), Cutout(8), Shrink(24, epochs=42), CutMix(1.0, p=0.5)),
    "loss_settings": {"label_smoothing": 0.1},
    "optimizer_settings": GATED_SETTINGS,
}


def backbone(channels, kernel_sizes=(3, 1, 1)):
    """Return the fields network and network_settings of a recipe for the assigned backbone."""
    return {"network": "gated_backbone", "network_settings": {"channels": channels, "kernel_sizes": kernel_sizes}}


OURS = {
    recipe.name: recipe
    for recipe in (
        # The assigned backbone in minutes on two CPU cores: the main run of notebooks 04 and 05. Its learning rates are
        # `lr` in SHORT, `linear_lr` in GATED_SETTINGS and the others in SMALL. docs/one_file.py repeats them all.
        Recipe("quick", **backbone((48, 144, 144)), num_epochs=8, **SMALL),
        Recipe("fast", "plain_backbone", {"channels": (64, 256, 256)}, num_epochs=11, **SHORT),
        Recipe("best_gated", **backbone((128, 384, 384)), num_epochs=60, **STRONG),
    )
}
# The recipes that are compared with and without the gate. `narrow` is only used for this comparison.
GATED = (
    OURS["quick"],
    OURS["best_gated"],
    Recipe("narrow", **backbone((16, 48, 48), (3, 3, 3)), num_epochs=8, **SMALL),
)


def variant(recipe, suffix, **settings):
    """Return the recipe with these network settings changed, under a name with the suffix."""
    return recipe.change(name=f"{recipe.name}_{suffix}", network_settings=recipe.network_settings | settings)


# What each recipe in GATED is compared with, as pairs (gated, without): a single branch; a constant gate, with equal
# weights for all branches and images; and a blind gate, which learns weights that are the same for all images. Behind
# a blind gate, branches that start alike would stay alike, so both networks of this pair start with different branches.
WITHOUT_GATE = {
    base.name: (
        (base, variant(base, "one_branch", kernel_sizes=(3,))),
        (base, variant(base, "constant_gate", gate="constant")),
        (
            variant(base, "different_start", starts="different"),
            variant(base, "blind_gate", starts="different", gate="blind"),
        ),
    )
    for base in GATED
}
ABLATIONS = {
    recipe.name: recipe
    for pairs in WITHOUT_GATE.values()
    for pair in pairs
    for recipe in pair
    if recipe.name not in OURS
}


def find_system(name: str) -> Recipe:
    """Return the recipe of this name: one of SYSTEMS, of OURS or of the ABLATIONS, or WITHOUT_SOFTMAX."""
    known = SYSTEMS | {WITHOUT_SOFTMAX.name: WITHOUT_SOFTMAX} | OURS | ABLATIONS
    if name not in known:
        raise CourseworkError(f"Unknown system: {name!r}.", next_step=f"Choose one of {', '.join(known)}.")
    return known[name]
