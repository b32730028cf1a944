"""Augmentations that move, cover or shrink: Flip, AlternatingFlip, Crop, Affine, Cutout and Shrink."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F

from utils.data.setting_checks import check_setting, is_count, is_number, is_pair, is_probability


def _pick(images, rows, columns):
    """Return new images: pixel (i, j) of image b is the old pixel at (rows[b, i], columns[b, j])."""
    count, channels, height, width = images.shape
    # One gather moves every pixel once, for any offsets of the images; a loop over offsets would wait for the device.
    indices = (rows.unsqueeze(2) * width + columns.unsqueeze(1)).view(-1, 1, rows.shape[1] * columns.shape[1])
    picked = images.reshape(count, channels, height * width).gather(2, indices.expand(count, channels, -1))
    return picked.view(count, channels, rows.shape[1], columns.shape[1])


def _mirror(images, mirrored):
    positions = torch.arange(images.shape[3], device=images.device)
    columns = torch.where(mirrored.unsqueeze(1), images.shape[3] - 1 - positions, positions)
    return _pick(images, positions[: images.shape[2]].unsqueeze(0), columns)


@dataclasses.dataclass(frozen=True)
class Flip:
    """Mirror an image left to right with probability p."""

    p: float = 0.5

    def __post_init__(self):
        check_setting(is_probability(self.p), "p must be a probability, from 0 to 1.", self)

    def draw(self, draws, size):
        return {"mirrored": draws.uniform("mirrored") < self.p}

    def apply(self, images, params):
        return _mirror(images, params["mirrored"])


@dataclasses.dataclass(frozen=True)
class AlternatingFlip:
    """Mirror each image with probability 1/2 in epoch 0; in every later epoch, mirror the image of the epoch before."""

    def draw(self, draws, size):
        first = draws.at_epoch(0).uniform("mirrored") < 0.5
        return {"mirrored": first ^ bool(draws.epoch % 2)}

    def apply(self, images, params):
        return _mirror(images, params["mirrored"])


@dataclasses.dataclass(frozen=True)
class Crop:
    """Pad every side with black ("zero") or the mirror image ("reflect"); cut out a random window of the old size."""

    padding: int = 4
    mode: str = "zero"

    def __post_init__(self):
        check_setting(is_count(self.padding), "padding must be a whole number of pixels, 0 or more.", self)
        check_setting(self.mode in ("zero", "reflect"), 'mode must be "zero" or "reflect".', self)

    def draw(self, draws, size):
        return {side: draws.integers(side, 0, 2 * self.padding + 1) for side in ("top", "left")}

    def apply(self, images, params):
        size = images.shape[-1]
        positions = torch.arange(size, device=images.device)
        rows, columns = (params[side].unsqueeze(1) + positions for side in ("top", "left"))
        if self.mode == "zero":
            return _pick(F.pad(images, (self.padding,) * 4), rows, columns)
        what = f'With mode="reflect", padding must be smaller than the image, which has {size} pixels a side.'
        check_setting(self.padding < size, what, self)
        return _pick(images, self._reflected(rows, size), self._reflected(columns, size))

    def _reflected(self, positions, size):
        """Convert positions in the padded image to positions in the image itself."""
        return (size - 1) - ((size - 1) - (positions - self.padding).abs()).abs()


@dataclasses.dataclass(frozen=True)
class Affine:
    """Rotate, shift, scale and shear an image about its centre at random (bilinear; pixels from outside are black).

    The angle lies between -degrees and degrees. The shift, in whole pixels, is at most `translate` (right, down),
    fractions of the image's size, in either direction. The scale lies between the two numbers in `scale`. The shear
    along x lies between -shear and shear, in degrees.
    """

    degrees: float = 0.0
    translate: tuple = (0.0, 0.0)
    scale: tuple = (1.0, 1.0)
    shear: float = 0.0

    def __post_init__(self):
        check_setting(is_number(self.degrees) and self.degrees >= 0, "degrees must be a number, 0 or more.", self)
        are_fractions = is_pair(self.translate) and all(0 <= fraction <= 1 for fraction in self.translate)
        check_setting(are_fractions, "translate must be a pair of fractions from 0 to 1.", self)
        is_range = is_pair(self.scale) and 0 < self.scale[0] <= self.scale[1]
        check_setting(is_range, "scale must be a pair of numbers, 0 < low <= high.", self)
        is_angle = is_number(self.shear) and 0 <= self.shear < 90
        check_setting(is_angle, "shear must be an angle in degrees, from 0 to below 90.", self)

    def draw(self, draws, size):
        right, down = (float(fraction * size) for fraction in self.translate)
        return {
            "angle": draws.uniform("angle", -self.degrees, self.degrees),
            "right": draws.uniform("right", -right, right).round_(),
            "down": draws.uniform("down", -down, down).round_(),
            "scale": draws.uniform("scale", *self.scale),
            "shear": draws.uniform("shear", -self.shear, self.shear),
        }

    def apply(self, images, params):
        return resample(images, _inverse_matrix(params, images.shape[-1]))


def resample(images, matrices):
    """Return new images: the pixel at p of image b is the old one at matrices[b] (2, 3) times (p, 1), from -1 to 1."""
    grid = F.affine_grid(matrices, images.shape, align_corners=False)
    values = images.to(torch.float32)
    sampled = F.grid_sample(values, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return sampled.round_().to(torch.uint8)


def _inverse_matrix(params, size):
    """Return (B, 2, 3) matrices that map a position in the new image to one in the old image, both from -1 to 1."""
    angle = params["angle"].deg2rad()
    cos, sin = angle.cos(), angle.sin()
    slope = params["shear"].deg2rad().tan()
    matrix = torch.stack((cos - sin * slope, sin + cos * slope, -sin, cos), 1).view(-1, 2, 2)
    matrix = matrix / params["scale"].view(-1, 1, 1)
    # The shift is applied last, so it is inverted first. The image is 2 units wide, so a pixel has 2 / size units.
    shift = torch.stack((params["right"], params["down"]), 1).unsqueeze(2) * (2 / size)
    return torch.cat((matrix, -(matrix * shift.transpose(1, 2)).sum(2, keepdim=True)), 2)


@dataclasses.dataclass(frozen=True)
class Cutout:
    """Cover a square of size x size pixels at a random position inside the image.

    `fill` is its colour, three levels from 0 to 255; by default CIFAR-10's mean, which is about 0 after normalisation.
    """

    size: int
    fill: tuple = (125, 123, 114)

    def __post_init__(self):
        check_setting(is_count(self.size) and self.size >= 1, "size must be a whole number of pixels, 1 or more.", self)
        are_levels = isinstance(self.fill, (tuple, list)) and all(is_count(v) and v <= 255 for v in self.fill)
        check_setting(are_levels and len(self.fill) == 3, "fill must be three whole levels from 0 to 255.", self)

    def draw(self, draws, size):
        check_setting(self.size <= size, f"The square is larger than the image, which has {size} pixels a side.", self)
        return {side: draws.integers(side, 0, size - self.size + 1) for side in ("top", "left")}

    def apply(self, images, params):
        positions = torch.arange(images.shape[-1], device=images.device)
        rows, columns = (positions - params[side].unsqueeze(1) for side in ("top", "left"))
        row_is_inside = (rows >= 0) & (rows < self.size)
        column_is_inside = (columns >= 0) & (columns < self.size)
        hole = row_is_inside.unsqueeze(2) & column_is_inside.unsqueeze(1)
        # One channel at a time, with plain numbers: a tensor of three levels would be copied to the device each time.
        painted = [images[:, channel].masked_fill(hole, level) for channel, level in enumerate(self.fill)]
        return torch.stack(painted, 1)


@dataclasses.dataclass(frozen=True)
class Shrink:
    """Shrink every image to size x size pixels in the first `epochs` epochs; later epochs use the original size.

    An epoch of small images takes less time, and the weights learned from them also work for larger ones. The network
    must accept both sizes. Shrink must be the last augmentation, since the others expect images of the original size.
    """

    size: int = 24
    epochs: int = 4

    def __post_init__(self):
        check_setting(is_count(self.size) and self.size >= 1, "size must be a whole number of pixels, 1 or more.", self)
        check_setting(is_count(self.epochs), "epochs must be a whole number, 0 or more.", self)

    def for_epochs(self, num_epochs, of):
        """Return a Shrink for num_epochs epochs instead of `of`, used in the same share of them, rounded down."""
        return dataclasses.replace(self, epochs=self.epochs * num_epochs // of)

    def draw(self, draws, size):
        check_setting(self.size <= size, f"The image has only {size} pixels a side.", self)
        return {"size": torch.full_like(draws.index, self.size)} if draws.epoch < self.epochs else {}

    def apply(self, images, params):
        if "size" not in params:
            return images
        values = images.to(torch.float32)
        size = (self.size, self.size)
        small = F.interpolate(values, size, mode="bilinear", align_corners=False, antialias=True)
        return small.round_().clamp_(0, 255).to(torch.uint8)
