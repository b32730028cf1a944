"""Augmentations that mix the images of a batch, and their labels: Mixup and CutMix.

Each image is mixed with the previous one of its batch, the first with the last one. The order is new in each epoch, so
this is a random other image. The label of a mixed image is the share of each class in it: (B, classes), as
nn.CrossEntropyLoss takes it.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import torch

from utils.data.setting_checks import check_setting, is_number, is_probability

TABLE = 2**16  # numbers from a Beta distribution of which each image picks one


@dataclasses.dataclass(frozen=True)
class Mixup:
    """With probability p, turn an image X into lam * X + (1 - lam) * other, and its label y alike.

    lam follows the distribution Beta(alpha, alpha): the smaller alpha, the closer it is to 0 or 1 in most images. See
    https://arxiv.org/abs/1710.09412.
    """

    alpha: float = 0.2
    p: float = 1.0

    def __post_init__(self):
        _check(self)

    def draw(self, draws, size):
        return {"lam": _draw_lam(draws, self)}

    def mix(self, X, y, params):
        return _mean_with_previous(X, params["lam"]), _mean_with_previous(y, params["lam"])


@dataclasses.dataclass(frozen=True)
class CutMix:
    """With probability p, replace a rectangle of an image by the same rectangle of the other image.

    The rectangle covers the fraction 1 - lam of the image, or less where it would reach over the edge, and the label is
    mixed by the areas. lam follows the distribution Beta(alpha, alpha). See https://arxiv.org/abs/1905.04899.
    """

    alpha: float = 1.0
    p: float = 1.0

    def __post_init__(self):
        _check(self)

    def draw(self, draws, size):
        # The centre as fractions of height and width: after Shrink the images are smaller than `size`.
        return {"lam": _draw_lam(draws, self), "row": draws.uniform("row"), "column": draws.uniform("column")}

    def mix(self, X, y, params):
        height, width = X.shape[2:]
        top, bottom = _edges(params["row"], params["lam"], height)
        left, right = _edges(params["column"], params["lam"], width)
        rows, columns = torch.arange(height, device=X.device), torch.arange(width, device=X.device)
        in_rows = (rows >= top.unsqueeze(1)) & (rows < bottom.unsqueeze(1))
        in_columns = (columns >= left.unsqueeze(1)) & (columns < right.unsqueeze(1))
        is_replaced = in_rows.unsqueeze(2) & in_columns.unsqueeze(1)
        kept = 1 - (bottom - top) * (right - left) / (height * width)
        return torch.where(is_replaced.unsqueeze(1), X.roll(1, 0), X), _mean_with_previous(y, kept)


def _check(op):
    check_setting(is_number(op.alpha) and op.alpha > 0, "alpha must be a number above 0.", op)
    check_setting(is_probability(op.p), "p must be a probability, from 0 to 1.", op)


@functools.cache
def _beta_table(alpha):
    """Return numbers from the distribution Beta(alpha, alpha), the same ones in each process."""
    # NumPy promises that the numbers of this older generator never change.
    return torch.from_numpy(np.random.RandomState(0).beta(alpha, alpha, TABLE)).to(torch.float32)


def _draw_lam(draws, op):
    """Return the share that each image keeps: 1 for those that are not mixed."""
    rows = draws.integers("lam", 0, TABLE)
    lam = _beta_table(op.alpha).to(rows.device)[rows]
    return lam if op.p == 1 else torch.where(draws.uniform("is mixed") < op.p, lam, 1.0)


def _mean_with_previous(values, lam):
    lam = lam.to(values.dtype).view(-1, *[1] * (values.ndim - 1))
    return torch.lerp(values.roll(1, 0), values, lam)


def _edges(centre, lam, size):
    """Return the first pixel inside each image's rectangle and the first one after it, along one side."""
    middle, half = (centre * size).long(), (0.5 * size * (1 - lam).sqrt()).long()
    return (middle - half).clamp(min=0), (middle + half).clamp(max=size)
