"""Owns the losses by name, and `make`, which makes a loss, optimizer or schedule from its name. Trains nothing."""

from __future__ import annotations

import inspect

from torch import nn

from utils.errors import CourseworkError


class CrossEntropy(nn.CrossEntropyLoss):
    """Cross-entropy of scores (B, classes), before any softmax, and labels (B,)."""

    def __init__(self, *, label_smoothing=0.0, reduction="mean"):
        super().__init__(label_smoothing=label_smoothing, reduction=reduction)
        # torch looks at these only when the first batch comes.
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f"reduction is mean, sum or none, not {reduction!r}.")
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f"label_smoothing lies from 0 to 1, and {label_smoothing} does not.")


class SoftmaxCrossEntropy(CrossEntropy):
    """Cross-entropy of softmaxed scores, which takes the softmax twice: a common mistake, here to be looked at.

    Cross-entropy does its own softmax. Given the probabilities of a softmax, numbers from 0 to 1, it can give the right
    one of ten classes no more than e / (e + 9) of the whole: the loss of a perfect network is ln(e + 9) - 1 = 1.4612.
    The gradient passes through the inner softmax, too, and there it all but vanishes where the network is sure of
    itself, also where it is sure and wrong. Report B trained its network in this way.
    """

    def forward(self, y_hat, y):
        return super().forward(y_hat.softmax(dim=1), y)


LOSSES = {"cross_entropy": CrossEntropy, "softmax_cross_entropy": SoftmaxCrossEntropy}


def make_loss(name, **settings):
    """Make a loss of LOSSES. Settings: label_smoothing (a fraction), reduction ("mean", "sum" or "none")."""
    return make("loss", LOSSES, name, **settings)


def make(kind, table, name, *args, **settings):
    """Call table[name] with these arguments; an unknown name, or settings it does not take, are refused with advice."""
    if name not in table:
        next_step = "Choose one of " + ", ".join(table) + "."
        raise CourseworkError(f"There is no {kind} '{name}'.", where=f"name={name!r}", next_step=next_step)
    try:
        return table[name](*args, **settings)
    except (TypeError, ValueError) as error:
        known = ", ".join(f"{key}={default!r}" for key, default in defaults(table[name]).items())
        where = ", ".join(f"{key}={value!r}" for key, value in settings.items()) or None
        next_step = f"Its settings, as they are if left out: {known}" if known else "It has no settings."
        raise CourseworkError(f"Cannot make the {kind} '{name}': {error}", where=where, next_step=next_step) from error


def defaults(function):
    """Return {setting: default} of a function's or class's optional arguments."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}
