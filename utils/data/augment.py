"""Augment whole batches of images on any device, with random parameters for each image.

An augmentation is a frozen dataclass of settings with two methods. `draw(draws, size)` returns its random parameters
for images of that size, one value per image; `apply(images, params)` returns the changed batch. Images are uint8
(B, 3, size, size) before and after, and only Shrink changes the size. The result is that of torchvision.transforms.v2,
to within one of 256 levels. An augmentation that is used only in some epochs has a third method, `for_epochs`.

Mixup and CutMix mix the images of a batch, and their labels. In place of `apply`, they have `mix(X, y, params)`, for
normalised images X and labels y (B, classes), the share of each class in each image. They come after all others.

To add an augmentation, write its class in one of the modules that are imported here, and its explanation for the report
below, and import it here and in data/__init__.py.
"""

from __future__ import annotations

from utils.data.colour import ColorJitter
from utils.data.geometry import Affine, AlternatingFlip, Crop, Cutout, Flip, Shrink
from utils.data.mixing import CutMix, Mixup
from utils.data.rand_augment import RandAugment

AUGMENTATIONS = {
    kind.__name__: kind
    for kind in (Flip, AlternatingFlip, Crop, Affine, ColorJitter, RandAugment, Cutout, Shrink, Mixup, CutMix)
}
EXPLANATIONS = {  # for the report
    "Flip": "mirrors an image left to right with probability p",
    "AlternatingFlip": "mirrors each image in every other epoch",
    "Crop": "pads the image on every side and cuts out a random window of the old size",
    "Affine": "rotates, shifts, scales and shears the image at random",
    "ColorJitter": "changes brightness, contrast, saturation and hue at random",
    "RandAugment": "changes each image by some operations that are chosen at random from a list",
    "Cutout": "covers a random square of the image",
    "Shrink": "shows smaller images in the first epochs",
    "Mixup": "replaces each image and its label by a weighted mean with those of another image",
    "CutMix": "replaces a rectangle of each image by that of another image, and mixes the labels by the areas",
}


def for_epochs(augment, num_epochs, of):
    """Return the augmentations for num_epochs epochs instead of `of`; each is used in the same share of the epochs."""
    return tuple(op.for_epochs(num_epochs, of) if hasattr(op, "for_epochs") else op for op in augment)
