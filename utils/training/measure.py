"""What a loop needs: the mean loss, the means of its sums, the device and the mode of a network."""

from __future__ import annotations

import contextlib
import functools

import torch

from utils.errors import CourseworkError


def mean_loss(loss, y_hat, y):
    """Return the batch's mean loss, whether loss itself gives a mean, a sum or one value for each example."""
    value = loss(y_hat, y)
    if value.ndim:
        return value.mean()
    settings = loss.keywords if isinstance(loss, functools.partial) else getattr(loss, "__dict__", {})
    return value / len(y) if settings.get("reduction") == "sum" else value


def means(metric):
    """Return (mean loss, fraction correct) of the sums (loss, correct, examples)."""
    if not metric[2]:
        next_step = "Look at len(data_iter.dataset), or at the loader's drop_last."
        raise CourseworkError("There was no batch to train or to measure on.", next_step=next_step)
    return float(metric[0]) / metric[2], float(metric[1]) / metric[2]


def place(net, device):
    """Move net to the device, if one is named; return the device it is on."""
    if device is not None:
        net.to(device)
    return next((tensor.device for tensor in (*net.parameters(), *net.buffers())), torch.device("cpu"))


@contextlib.contextmanager
def in_mode(net, training):
    """Put net into train or eval mode, and afterwards each of its parts back into the mode it was in."""
    modes = [(module, module.training) for module in net.modules()]
    net.train(training)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
