"""Owns layers as words: the vocabulary, and what a row of words builds. Knows no block and no network."""

from __future__ import annotations

import re

import torch
from torch import nn

from utils.errors import CourseworkError
from utils.models.convolution import PaddedConv

ACTIVATIONS = {"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "gelu": nn.GELU, "sigmoid": nn.Sigmoid}


class Mean(nn.Module):
    """Average each channel over its map: (B, C, H, W) to (B, C)."""

    def forward(self, X):
        return X.mean((2, 3))


class Max(nn.Module):
    """Keep each channel's largest value, whatever the size of its map: (B, C, H, W) to (B, C)."""

    def forward(self, X):
        return X.amax((2, 3))


class Scale(nn.Module):
    """Multiply by a constant: scores that start small let the first steps be large ones."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, X):
        return self.factor * X

    def extra_repr(self):
        return f"{self.factor:g}"


class Whiten(nn.Conv2d):
    """A convolution that makes the patches of images independent of each other; it is learned at once, then frozen.

    It has two outputs, of either sign, for each direction in which patches vary. Only its bias is trained.
    """

    def __init__(self, channels, size):
        super().__init__(channels, 2 * channels * size**2, size)
        self.weight.requires_grad_(False)

    @torch.no_grad()
    def learn(self, images, least=5e-4):
        """Set the weights from images (n, channels, H, W); least is added to each direction's variance."""
        count, total, products = 0, 0.0, 0.0
        for some in images.split(500):  # on their device; all patches at once would take a gigabyte
            patches = nn.functional.unfold(some.double(), self.kernel_size).transpose(1, 2).flatten(0, 1)
            count, total, products = count + len(patches), total + patches.sum(0), products + patches.T @ patches
        mean = total / count
        variances, directions = torch.linalg.eigh((products / count - mean.outer(mean)).cpu())
        weight = (directions / (variances + least).sqrt()).T.view(-1, *self.weight.shape[1:])
        self.weight.copy_(torch.cat([weight, -weight]))


def build_layers(words, shape, where="layers", *, width=None, kernel=3):
    """Build each word's layer for an input (C, H, W) or (C,); return the layers and the shape that comes out."""
    layers = []
    for number, word in enumerate(words, 1):
        place = f"{where}, word {number} of {len(words)}: {word!r}"
        matches = [(re.fullmatch(pattern, str(word)), *rest) for pattern, *rest in WORDS.values()]
        found, takes, make = next((match for match in matches if match[0]), (None, None, None))
        if not found:
            raise CourseworkError("There is no such layer.", where=place, next_step="Known are: " + "; ".join(WORDS))
        if takes not in ("any", "map" if len(shape) == 3 else "vector"):
            reason = f"{word!r} takes a {takes}, but what comes in has the shape {shape}."
            advice = '"mean", "max" and "flatten" make a vector (C,) of a map (C, H, W); nothing makes a map again.'
            raise CourseworkError(reason, where=place, next_step=advice)
        numbers = [text and (float(text) if "." in text else int(text)) for text in found.groups()]
        layer, after = make(shape, *numbers, **({"width": width, "default": kernel} if make is _conv else {}))
        if min(after) < 1:
            reason = f"A map {shape[1]}x{shape[2]} is too small for {word!r}."
            raise CourseworkError(reason, where=place, next_step="Cut or halve the map less often before it.")
        layers.append(layer)
        shape = after
    return layers, shape


def _conv(shape, out, kernel, stride, pad, *, width, default):
    out, kernel, stride = out or width or shape[0], kernel or default, stride or 1  # a bare "conv" takes its place's
    pad = kernel // 2 if pad is None else pad  # keeps height and width for odd kernels
    keeps = kernel % 2 and stride == 1 and pad == kernel // 2
    layer = PaddedConv(shape[0], out, kernel) if keeps else nn.Conv2d(shape[0], out, kernel, stride, pad)
    return layer, (out, *((side + 2 * pad - kernel) // stride + 1 for side in shape[1:]))


def _norm(shape, fixed):
    """Normalise each channel; "fixed" trains no scale, and follows the statistics fast, for a short training."""
    kind = nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d
    layer = kind(shape[0], momentum=0.4) if fixed else kind(shape[0])
    layer.weight.requires_grad_(not fixed)
    return layer, shape


def _whiten(shape, size):
    return Whiten(shape[0], size), (2 * shape[0] * size**2, *(side - size + 1 for side in shape[1:]))


def _pool(shape, window, stride):
    layer = nn.MaxPool2d(window, stride)  # without a stride the windows lie side by side
    return layer, (shape[0], *((side - window) // (stride or window) + 1 for side in shape[1:]))


_N, _P = r"([1-9]\d*)", r"(0(?:\.\d+)?)"
# An example of each word: its pattern, what it takes, and a function (shape, numbers) -> (layer, shape after it).
WORDS = {
    "conv 64 5x5 stride 2 pad 0": (rf"conv(?: {_N})?(?: {_N}x\2)?(?: stride {_N})?(?: pad (\d+))?", "map", _conv),
    "norm": ("norm", "any", lambda shape: _norm(shape, fixed=False)),
    "norm fixed": ("norm fixed", "any", lambda shape: _norm(shape, fixed=True)),
    "whiten 2": (rf"whiten {_N}", "map", _whiten),
    "scale 0.1": (r"scale (\d+\.\d+)", "any", lambda shape, factor: (Scale(factor), shape)),
    **{name: (name, "any", lambda shape, kind=kind: (kind(), shape)) for name, kind in ACTIVATIONS.items()},
    "softmax": ("softmax", "vector", lambda shape: (nn.Softmax(1), shape)),
    "pool 3 stride 2": (rf"pool {_N}(?: stride {_N})?", "map", _pool),
    "average 2": (rf"average {_N}", "map", lambda shape, n: (nn.AdaptiveAvgPool2d(n), (shape[0], n, n))),
    "mean": ("mean", "map", lambda shape: (Mean(), shape[:1])),
    "max": ("max", "map", lambda shape: (Max(), shape[:1])),
    "flatten": ("flatten", "map", lambda shape: (nn.Flatten(), (shape[0] * shape[1] * shape[2],))),
    "linear 512": (rf"linear {_N}", "vector", lambda shape, n: (nn.Linear(shape[0], n), (n,))),
    "dropout 0.2": (rf"dropout {_P}", "any", lambda shape, p: (nn.Dropout(p), shape)),
    "dropout2d 0.2": (rf"dropout2d {_P}", "map", lambda shape, p: (nn.Dropout2d(p), shape)),
}
