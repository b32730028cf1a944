"""The corruptions of CIFAR-10-C with their published strengths: corrupt(images, "gaussian_noise", severity=3).

They are those of Hendrycks and Dietterich (2019), https://arxiv.org/abs/1903.12261, for images of 32x32 pixels. Frost
is missing, because it needs photographs of frost. The operations are written anew from the published definitions. Their
random numbers differ, so the images are not those of the published arrays, which cifar10_c.py reads.
"""

from __future__ import annotations

import dataclasses
import io
import math

import numpy as np
import torch
from PIL import Image

from utils.data.counter_rng import Draws, uniform
from utils.errors import CourseworkError, check_count
from utils.evaluation.image_filters import (
    both_sides,
    disk_blur,
    gaussian_matrix,
    mirror,
    mirror_without_edge,
    motion_blur,
    pick,
    repeat_edge,
    sample,
    zoom_matrix,
)

SIZE = 32  # pixels; the strengths are those for this size
CHUNK = 500  # images at a time
GREY = (0.299, 0.587, 0.114)  # shares of red, green and blue in brightness
PUBLISHED = {  # the settings at the severities 1 to 5
    "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),  # standard deviation; 1 is white
    "shot_noise": (500, 250, 100, 75, 50),  # photons that a white pixel receives
    "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),  # share of values that become 0 or 1
    "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1)),  # radius, blur of its edge
    "glass_blur": ((0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2)),  # sigma, repetitions
    "motion_blur": ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5)),  # radius, sigma
    "zoom_blur": (1.06, 1.11, 1.16, 1.21, 1.26),  # factors from 1 to this, in steps of 0.01
    "snow": (  # mean, standard deviation, size and threshold of flakes, radius and sigma of motion, share of the image
        (0.1, 0.2, 1.0, 0.6, 8, 3.0, 0.95),
        (0.1, 0.2, 1.0, 0.5, 10, 4.0, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4.0, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6.0, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12.0, 0.8),
    ),
    "fog": ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75)),  # density, smoothness
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),  # added to the value in hue, saturation, value
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),  # share of the contrast that is left
    # shift, its smoothness, and shift of three points of the image, as shares of the side
    "elastic_transform": (
        (0.0, 0.0, 0.08),
        (0.05, 0.2, 0.07),
        (0.08, 0.06, 0.06),
        (0.1, 0.04, 0.05),
        (0.1, 0.03, 0.03),
    ),
    "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),  # share of the side
    "jpeg_compression": (80, 65, 58, 50, 40),  # quality
}


def corrupt(images, name, severity, seed=0):
    """Return corrupted copies of images, uint8 (n, 3, 32, 32), on their device; severity: 1 to 5.

    The random numbers of an image depend only on the seed and its row, and each severity uses the same ones. All is
    computed on the CPU, so that every machine gets the same images.
    """
    if name not in PUBLISHED:
        what = f"There is no corruption {name!r}."
        next_step = f"Choose one of {', '.join(PUBLISHED)}. Frost needs photographs: use the published arrays."
        raise CourseworkError(what, where="corruptions", next_step=next_step)
    if images.dtype != torch.uint8 or images.shape[1:] != (3, SIZE, SIZE):
        what = f"The images must be uint8 (n, 3, {SIZE}, {SIZE}), but are {images.dtype} {tuple(images.shape)}."
        raise CourseworkError(what, where="images", next_step="The published strengths are for CIFAR-10's images.")
    settings = PUBLISHED[name][check_count("severity", severity, 1, 5) - 1]
    draws = Draws(seed, 0, torch.arange(len(images)), name)
    chunks = []
    for start in range(0, len(images), CHUNK):
        rows = slice(start, start + CHUNK)
        X = images[rows].cpu().double() / 255
        X = CORRUPTIONS[name](X, settings, dataclasses.replace(draws, index=draws.index[rows]))
        # The published arrays are cut off and not rounded; the small number makes up for rounding errors.
        chunks.append((255 * X.clamp(0, 1) + 1e-6).to(torch.uint8))
    return torch.cat(chunks).to(images.device)


def _uniform(draws, name, *shape, low=0.0, high=1.0):
    """Return uniform numbers of this shape for each image."""
    count = math.prod(shape)
    index = draws.index[:, None] * count + torch.arange(count)
    numbers = uniform(draws.seed, draws.epoch, index, f"{draws.purpose}/{name}").double()
    return (low + (high - low) * numbers).view(-1, *shape)


def _normal(draws, name, *shape):
    """Return normal numbers of this shape for each image."""
    return torch.special.ndtri(_uniform(draws, name, *shape) + 2.0**-25)  # never 0, where the result is infinite


def _gaussian_noise(X, deviation, draws):
    return X + deviation * _normal(draws, "noise", *X.shape[1:])


def _shot_noise(X, photons, draws):
    """Count photons: Poisson numbers by the inverse of their distribution function, from a table of all 256 levels."""
    rates = torch.arange(256).double()[:, None] / 255 * photons
    counts = torch.arange(int(photons + 12 * math.sqrt(photons)) + 20).double()
    below = (torch.xlogy(counts, rates) - rates - torch.lgamma(counts + 1)).exp().cumsum(1).clamp(max=1)
    levels = (255 * X).round()
    table = below + torch.arange(256)[:, None]  # rises from row to row, so that one search serves all levels
    position = torch.searchsorted(table.flatten(), _uniform(draws, "photons", *X.shape[1:]) + levels)
    return (position - levels * len(counts)).clamp(max=len(counts) - 1) / photons


def _impulse_noise(X, share, draws):
    is_hit = _uniform(draws, "is hit", *X.shape[1:]) < share
    return torch.where(is_hit, (_uniform(draws, "colour", *X.shape[1:]) < 0.5).double(), X)


def _defocus_blur(X, settings, draws):
    return disk_blur(X, *settings)


def _glass_blur(X, settings, draws):
    """Blur, move each pixel's neighbour into its place, and blur again.

    The published code is meant to swap pixels, but copies them: a neighbour above or at the left, or the pixel itself.
    """
    sigma, repetitions = settings
    matrix = gaussian_matrix(SIZE, sigma, 4.0, repeat_edge)
    X = (255 * both_sides(matrix, X) + 1e-6).floor() / 255
    positions = torch.arange(SIZE)
    is_inside = (positions >= 2)[:, None] & (positions >= 2)
    for i in range(repetitions):
        up, left = (
            (_uniform(draws, f"{side} {i}", SIZE, SIZE) < 0.5).long() * is_inside.long() for side in ("up", "left")
        )
        X = pick(X, positions[:, None] - up, positions - left)
    return both_sides(matrix, X)


def _motion_blur(X, settings, draws):
    return motion_blur(X, *settings, draws.uniform("degrees", -45, 45).double())


def _zoom_blur(X, largest, draws):
    """Average the image and enlarged images; the image itself counts twice."""
    factors = np.arange(1, largest, 0.01)  # in some rows the rounding of arange includes `largest`, as in the paper
    enlarged = sum(both_sides(zoom_matrix(SIZE, float(factor)), X) for factor in factors)
    return (X + enlarged) / (len(factors) + 1)


def _snow(X, settings, draws):
    mean, deviation, size, threshold, radius, sigma, share = settings
    flakes = mean + deviation * _normal(draws, "flakes", 1, SIZE, SIZE)
    flakes = both_sides(zoom_matrix(SIZE, size), flakes)
    flakes = torch.where(flakes < threshold, 0.0, flakes.clamp(0, 1))
    flakes = motion_blur((255 * flakes).floor() / 255, radius, sigma, draws.uniform("degrees", -135, -45).double())
    grey = (X * torch.tensor(GREY, dtype=X.dtype).view(3, 1, 1)).sum(1, keepdim=True)
    return share * X + (1 - share) * torch.maximum(X, 1.5 * grey + 0.5) + flakes + flakes.rot90(2, (2, 3))


def _fog(X, settings, draws):
    density, smoothness = settings
    brightest = X.amax((1, 2, 3), keepdim=True)
    return (X + density * _clouds(draws, smoothness)[:, None]) * brightest / (brightest + density)


def _clouds(draws, smoothness):
    """Return clouds from 0 to 1, made by the diamond-square algorithm: midpoints of ever smaller squares, moved."""
    height = torch.zeros(len(draws.index), SIZE, SIZE, dtype=torch.float64)
    step, move = SIZE, 100.0

    def middle(total, name):
        return total / 4 + move * _uniform(draws, f"{name} {step}", *total.shape[1:], low=-move, high=move)

    while step >= 2:
        half = step // 2
        corners = height[:, ::step, ::step]
        pairs = corners + corners.roll(-1, 1)
        height[:, half::step, half::step] = middle(pairs + pairs.roll(-1, 2), "centres")
        centres = height[:, half::step, half::step]
        across = centres + centres.roll(1, 1) + corners + corners.roll(-1, 2)
        down = centres + centres.roll(1, 2) + corners + corners.roll(-1, 1)
        height[:, ::step, half::step] = middle(across, "across")
        height[:, half::step, ::step] = middle(down, "down")
        step, move = half, move / smoothness
    height -= height.amin((1, 2), keepdim=True)
    return height / height.amax((1, 2), keepdim=True)


def _brightness(X, added, draws):
    """Raise the largest of each pixel's three values; the others keep their ratio to it (the same hue, saturation)."""
    value = X.amax(1, keepdim=True)
    raised = (value + added).clamp(max=1)
    return torch.where(value > 0, X * (raised / value), raised)


def _contrast(X, share, draws):
    mean = X.mean((2, 3), keepdim=True)
    return (X - mean) * share + mean


def _elastic_transform(X, settings, draws):
    """Move three points and the whole image with them; then shift each pixel, similarly to its neighbours."""
    shift, sigma, jitter = (SIZE * setting for setting in settings)
    near, far = SIZE // 2 - SIZE // 3, SIZE // 2 + SIZE // 3
    points = torch.tensor([[far, far], [far, near], [near, near]], dtype=torch.float64)  # columns, rows
    moved = points + _uniform(draws, "points", 3, 2, low=-jitter, high=jitter)
    ones = torch.ones(len(X), 3, 1, dtype=torch.float64)
    back = torch.linalg.solve(torch.cat([moved, ones], 2), points.expand(len(X), 3, 2))  # (n, 3, 2)
    rows, columns = torch.meshgrid(*[torch.arange(SIZE, dtype=torch.float64)] * 2, indexing="ij")
    sources = torch.stack([columns, rows, torch.ones_like(rows)], 2) @ back[:, None]  # (n, 32, 32, 2)
    X = sample(X, sources[..., 1], sources[..., 0], mirror_without_edge)
    blur = gaussian_matrix(SIZE, sigma, 3.0, mirror)
    right, down = (shift * both_sides(blur, _uniform(draws, name, SIZE, SIZE, low=-1.0)) for name in ("right", "down"))
    return sample(X, rows + down, columns + right, mirror)


def _pixelate(X, share, draws):
    small = (int(SIZE * share),) * 2

    def pixelated(picture):
        return Image.fromarray(picture).resize(small, Image.Resampling.BOX).resize((SIZE, SIZE), Image.Resampling.BOX)

    return _each_picture((255 * X).round().to(torch.uint8), pixelated).double() / 255


def _jpeg_compression(X, quality, draws):
    return jpeg((255 * X).round().to(torch.uint8), quality).double() / 255


def jpeg(images, quality, seed=0):
    """Compress each image as JPEG of this quality and read it again; colours have half the resolution, as usual."""

    def compressed(picture):
        content = io.BytesIO()
        Image.fromarray(picture).save(content, "JPEG", quality=quality, subsampling="4:2:0")
        return Image.open(content, formats=("JPEG",))

    return _each_picture(images, compressed)


def _each_picture(images, change):
    """Return images, uint8, each changed by a function of an array (height, width, 3)."""
    pictures = images.cpu().permute(0, 2, 3, 1).contiguous().numpy()
    changed = torch.from_numpy(np.stack([np.asarray(change(picture)) for picture in pictures]))
    return changed.permute(0, 3, 1, 2).contiguous().to(images.device)


CORRUPTIONS = {
    "gaussian_noise": _gaussian_noise,
    "shot_noise": _shot_noise,
    "impulse_noise": _impulse_noise,
    "defocus_blur": _defocus_blur,
    "glass_blur": _glass_blur,
    "motion_blur": _motion_blur,
    "zoom_blur": _zoom_blur,
    "snow": _snow,
    "fog": _fog,
    "brightness": _brightness,
    "contrast": _contrast,
    "elastic_transform": _elastic_transform,
    "pixelate": _pixelate,
    "jpeg_compression": _jpeg_compression,
}
