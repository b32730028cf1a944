"""Losses, chosen by name: cross-entropy, and cross-entropy that applies the softmax twice.

loss = make_loss("cross_entropy", label_smoothing=0.1)
loss = make_loss(torch.nn.MultiMarginLoss, margin=0.5)
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from torch import nn

from utils.errors import CourseworkError
from utils.optim.make import make


class CrossEntropy(nn.CrossEntropyLoss):
    """Cross-entropy of scores (B, classes), before any softmax, and labels (B,)."""

    def __init__(self, *, label_smoothing=0.0, reduction="mean"):
        super().__init__(label_smoothing=label_smoothing, reduction=reduction)
        # torch checks these only with the first batch.
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f"reduction must be mean, sum or none, but is {reduction!r}.")
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f"label_smoothing must lie between 0 and 1, but is {label_smoothing}.")


class SoftmaxCrossEntropy(CrossEntropy):
    """Cross-entropy of scores that went through a softmax already: a common mistake, studied in notebook 03.

    Cross-entropy applies a softmax itself, so the softmax is applied twice. The inputs of the second softmax lie
    between 0 and 1. With ten classes, the right class therefore gets a probability of at most e / (e + 9), and the loss
    of a perfect network is ln(e + 9) - 1 = 1.4612. The gradient also passes through the first softmax, and almost
    vanishes there if the network is confident, even if it is confident and wrong. Report B trained its network with
    this loss.
    """

    def forward(self, y_hat, y):
        return super().forward(y_hat.softmax(dim=1), y)


LOSSES = {"cross_entropy": CrossEntropy, "softmax_cross_entropy": SoftmaxCrossEntropy}
EXPLANATIONS = {  # for the report
    "cross_entropy": (
        "Cross-entropy: the negative logarithm of the probability that the softmax of the scores gives to the true"
        " class, averaged over the images of a batch. It takes the scores as they are, before any softmax."
    ),
    "softmax_cross_entropy": (
        "Cross-entropy of scores that went through a softmax already. The softmax is therefore applied twice, and with"
        " ten classes the loss cannot fall below 1.46."
    ),
}


def make_loss(choice: str | Callable, **settings) -> Callable:
    """Make a loss: one of LOSSES by name, a class that is called with the settings, or a function of (y_hat, y).

    A function is called with the settings for each batch; an object, such as nn.CrossEntropyLoss(), is returned itself.
    """
    if isinstance(choice, nn.Module):
        if settings:
            raise CourseworkError(
                f"The loss is an object of type {type(choice).__name__}, so it can't be made with other settings.",
                where=", ".join(f"{key}={value!r}" for key, value in settings.items()),
                next_step=f"Give the class {type(choice).__name__} in place of the object, or leave the settings out.",
            )
        return choice
    made_by = choice.func if isinstance(choice, functools.partial) else choice
    if callable(choice) and not isinstance(made_by, type):
        return functools.partial(choice, **settings) if settings else choice
    return make("loss", LOSSES, choice, **settings)
