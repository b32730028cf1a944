"""Helpers of the training loop: the mean loss of a batch, the means of an epoch, a network's device and mode."""

from __future__ import annotations

import contextlib

import torch

from utils.devices import as_device
from utils.errors import CourseworkError
from utils.training.checks import check_loss_arguments, check_network, check_reduction


def mean_loss(loss, y_hat, y):
    """Return the batch's mean loss, whether loss returns a mean or one value for each example; refuse a sum.

    A sum in a function of the user's can't be recognised, and is used as it is. With class weights or ignore_index,
    torch takes a weighted mean over the batch. An epoch's loss is then still the mean of its batches' losses, each
    counted as often as the batch has images.
    """
    check_reduction(loss)
    try:
        value = loss(y_hat, y)
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        check_loss_arguments(loss, y_hat, y, error)
        raise
    return value.mean() if value.ndim else value


def means(metric):
    """Return (mean loss, fraction correct) of the sums (loss, correct, examples)."""
    if not metric[2]:
        next_step = (
            "Check that the data set is not empty, that drop_last does not drop its only batch, and that the loader "
            "starts again from the beginning in each epoch."
        )
        what = "The loader gave no batch to train or to measure on."
        raise CourseworkError(what, where="the loader's batches of this epoch", next_step=next_step)
    return float(metric[0]) / metric[2], float(metric[1]) / metric[2]


def place(net, device):
    """Move net to the device, unless device is None; return the device that net is on."""
    check_network(net)
    if device is not None:
        net.to(as_device(device))
    return next((tensor.device for tensor in (*net.parameters(), *net.buffers())), torch.device("cpu"))


@contextlib.contextmanager
def in_mode(net, training):
    """Put net into train or eval mode, and afterwards each of its modules back into its earlier mode."""
    modes = [(module, module.training) for module in net.modules()]
    net.train(training)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
