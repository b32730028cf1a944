"""RandAugment: change each image by a few operations that are chosen at random from a list."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F

from utils.data.colour import grey
from utils.data.geometry import resample
from utils.data.setting_checks import check_setting, is_count

MOST = 30  # the greatest magnitude
STRONGEST = {  # the setting of each operation at magnitude 30, as in torchvision
    "identity": None,
    "rotate": 30.0,  # degrees
    "shear x": 0.3,  # pixels to the side for each pixel down
    "shear y": 0.3,
    "shift x": 150 / 331,  # fraction of the width
    "shift y": 150 / 331,
    "brightness": 0.9,  # the factor is 1 plus or minus this
    "saturation": 0.9,
    "contrast": 0.9,
    "sharpness": 0.9,
    "posterise": 4,  # bits that are set to 0
    "solarise": 255,  # inverts all levels from 255 minus this one on
    "autocontrast": None,
}
NAMES = tuple(STRONGEST)
SIGNED = NAMES[1:10]  # these are applied in either direction


@dataclasses.dataclass(frozen=True)
class RandAugment:
    """Apply `count` operations to each image, each chosen at random from STRONGEST; magnitude, 0 to 30: how strongly.

    Different images get different operations. In contrast to torchvision, equalising is not on the list, and images
    are sheared about their centre and resampled bilinearly. See https://arxiv.org/abs/1909.13719.
    """

    count: int = 2
    magnitude: int = 9

    def __post_init__(self):
        check_setting(is_count(self.count), "count must be a whole number of operations, 0 or more.", self)
        is_right = is_count(self.magnitude) and self.magnitude <= MOST
        check_setting(is_right, f"magnitude must be a whole number from 0 to {MOST}.", self)

    def draw(self, draws, size):
        params = {}
        for i in range(self.count):
            params[f"operation {i}"] = draws.integers(f"operation {i}", 0, len(NAMES))
            params[f"sign {i}"] = 2 * draws.integers(f"sign {i}", 0, 2) - 1
        return params

    def apply(self, images, params):
        for i in range(self.count):
            images = self._apply_one(images, params[f"operation {i}"], params[f"sign {i}"])
        return images

    def _apply_one(self, images, operation, sign):
        """Apply its own operation to each image: a step below changes only the images whose operation it is."""

        def strength(name):
            """Return the signed setting of an operation for each image, 0 for images with another operation."""
            value = STRONGEST[name] * self.magnitude / MOST
            return torch.where(operation == NAMES.index(name), value * sign if name in SIGNED else value, 0.0)

        images = _move(images, strength)
        images = _change_colours(images, operation, strength)
        images = images & (255 << strength("posterise").round().to(torch.uint8)).view(-1, 1, 1, 1)
        threshold = torch.where(operation == NAMES.index("solarise"), 255 - strength("solarise"), 256.0)
        images = torch.where(images >= threshold.view(-1, 1, 1, 1), 255 - images, images)
        return _stretch(images, operation == NAMES.index("autocontrast"))


def _move(images, strength):
    """Rotate, shear or shift the images."""
    angle = strength("rotate").deg2rad()
    cos, sin = angle.cos(), angle.sin()
    size = images.shape[-1]
    right, down = ((strength(name) * size).trunc() * 2 / size for name in ("shift x", "shift y"))  # whole pixels
    # The rows of the matrix that maps a position in the new image to one in the old image, from -1 to 1; see resample.
    x = torch.stack((cos, sin + strength("shear x"), -right), 1)
    y = torch.stack((strength("shear y") - sin, cos, -down), 1)
    return resample(images, torch.stack((x, y), 1))


def _change_colours(images, operation, strength):
    """Change brightness, saturation, contrast or sharpness: blend with black, grey, the mean or a blurred image."""
    factor, others = 1.0, 0.0
    for name, make_other in OTHERS.items():
        is_chosen = (operation == NAMES.index(name)).view(-1, 1, 1, 1)
        factor = factor + strength(name).view(-1, 1, 1, 1)
        others = torch.where(is_chosen, make_other(images), others)
    # In this form, pixels that equal the other image's do not change.
    return (images + (1 - factor) * (others - images)).clamp_(0, 255).to(torch.uint8)


def _blurred(images):
    """Return the images with each pixel blurred with its eight neighbours, except at the edge."""
    blurred = images.to(torch.float32)
    inside = blurred[:, :, 1:-1, 1:-1]
    # In the mean, the pixel itself counts five times; a convolution would be less exact on a GPU.
    inside.copy_(((9 * F.avg_pool2d(blurred, 3, stride=1) + 4 * inside) / 13).round_())
    return blurred


OTHERS = {
    "brightness": torch.zeros_like,
    "saturation": grey,
    "contrast": lambda images: grey(images).mean((2, 3), keepdim=True),
    "sharpness": _blurred,
}


def _stretch(images, is_chosen):
    """Stretch the levels of each channel from 0 to 255 in the images that are chosen."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    is_stretched = is_chosen.view(-1, 1, 1, 1) & (low < high)
    scale = 255 / (high - low).clamp(min=1).to(torch.float32)
    return torch.where(is_stretched, ((images - low) * scale).clamp(0, 255), images).to(torch.uint8)
