"""Check the arguments of train_ch3 before anything is trained or written."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Iterable, Iterator

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.utils.data import Dataset, IterableDataset

from utils.errors import CourseworkError


def check_network(net):
    """Raise an error if net is not an nn.Module, or has lazy layers without weights."""
    if not isinstance(net, nn.Module):
        what = f"net must be an nn.Module, but is {_name(net)}."
        advice = f"Make an object of the class: {net.__name__}()." if isinstance(net, type) else "Give the network."
        raise CourseworkError(what, where="train_ch3(net, ...)", next_step=advice)
    if any(is_lazy(parameter) for parameter in net.parameters()):
        what = "The network has lazy layers, whose weights have no shape before the first batch."
        next_step = "Call net(X) with one batch of images first, and make the optimizer after that."
        raise CourseworkError(what, where="train_ch3(net, ...)", next_step=next_step)


def check_loss(loss, step):
    """Raise an error if the loss can't be called with (y_hat, y)."""
    if loss is None and not _is_ours(step):  # the user's own step may compute its loss itself
        return
    if isinstance(loss, type):
        what = f"loss must be an object or a function, but {loss.__name__} is a class."
        raise CourseworkError(what, where="train_ch3(..., loss, ...)", next_step=f"Write {loss.__name__}().")
    if not callable(loss):
        what = f"loss must be callable as loss(y_hat, y), but is {_name(loss)}."
        next_step = "For example: nn.CrossEntropyLoss()."
        raise CourseworkError(what, where="train_ch3(..., loss, ...)", next_step=next_step)


def check_epochs(num_epochs) -> int:
    """Return num_epochs as an int; raise an error if it is not a whole number, 1 or more."""
    try:
        count = operator.index(num_epochs)
    except TypeError:
        count = 0
    if isinstance(num_epochs, bool) or count < 1:
        what = f"num_epochs must be a whole number, at least 1, but is {num_epochs!r}."
        raise CourseworkError(what, where="train_ch3(..., num_epochs, ...)", next_step="For example: num_epochs=10.")
    return count


def check_optimizer(optimizer, net, step):
    """Raise an error if the optimizer has none of the network's parameters, or needs a closure that our steps lack."""
    where = "train_ch3(..., optimizer)"
    if not all(hasattr(optimizer, name) for name in ("param_groups", "step", "zero_grad", "state_dict")):
        what = f"optimizer must be a torch.optim.Optimizer, but is {_name(optimizer)}."
        next_step = "For example: torch.optim.SGD(net.parameters(), lr=0.1)."
        raise CourseworkError(what, where=where, next_step=next_step)
    weights = {id(parameter) for parameter in net.parameters()}
    if not any(id(parameter) in weights for group in optimizer.param_groups for parameter in group["params"]):
        what = "The optimizer contains none of this network's parameters, so it would not train this network."
        next_step = "Make a new optimizer with net.parameters() whenever you make a new network."
        raise CourseworkError(what, where=where, next_step=next_step)
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty and _is_ours(step):
        what = f"{type(optimizer).__name__} needs a closure that computes the loss again, but this step passes none."
        next_step = "Choose another optimizer, or give train_ch3 your own step that calls optimizer.step(closure)."
        raise CourseworkError(what, where=where, next_step=next_step)


def check_batches(batches, name, num_epochs):
    """Return an iterable that can be read in every epoch; raise an error if it can be read only once."""
    where = f"train_ch3(..., {name}, ...)"
    if inspect.isgeneratorfunction(batches):
        return CalledEachEpoch(batches)
    if isinstance(batches, Iterator) and num_epochs > 1:
        what = f"{name} can be read only once, but {num_epochs} epochs need its batches {num_epochs} times."
        next_step = f"Give list({name}), a DataLoader, or the generator function itself, without calling it."
        raise CourseworkError(what, where=where, next_step=next_step)
    if isinstance(batches, Dataset) and not isinstance(batches, IterableDataset):
        what = f"{name} must yield batches, but is a dataset, which returns single examples."
        next_step = "Give DataLoader(dataset, batch_size=128, shuffle=True)."
        raise CourseworkError(what, where=where, next_step=next_step)
    if not isinstance(batches, Iterable):
        what = f"{name} must be an iterable of batches (X, y), but is {_name(batches)}."
        raise CourseworkError(what, where=where, next_step="Give a BatchLoader, a DataLoader or a list.")
    if isinstance(batches, (list, tuple)):
        for batch in batches:
            check_pair(batch, name)
    return batches


class CalledEachEpoch:
    """An iterable that calls a generator function anew for each epoch."""

    def __init__(self, function):
        self.function = function

    def __iter__(self):
        return self.function()


def checked_batches(batches, name):
    """Yield the batches; raise an error at the first one that is not a pair of tensors."""
    for batch in batches:
        check_pair(batch, name)
        yield batch


def check_pair(batch, name):
    """Raise an error if a batch is not (X, y), a pair of tensors."""
    is_sequence = isinstance(batch, (tuple, list))
    if is_sequence and len(batch) == 2 and isinstance(batch[0], torch.Tensor) and isinstance(batch[1], torch.Tensor):
        return
    content = f"({', '.join(type(item).__name__ for item in batch)})" if is_sequence else _name(batch)
    what = f"Each batch must be a pair (X, y) of tensors, but one is {content}."
    next_step = "Yield images (B, 3, H, W) and labels (B,); torch.from_numpy turns NumPy's arrays into tensors."
    raise CourseworkError(what, where=name, next_step=next_step)


def _is_ours(step):
    """Return True if a step belongs to this library, whose steps call optimizer.step() without a closure."""
    return (getattr(step, "__module__", None) or "").partition(".")[0] == "utils"


def _name(item):
    return f"the class {item.__name__}" if isinstance(item, type) else f"an object of type {type(item).__name__}"
