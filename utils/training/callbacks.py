"""Callbacks: objects whose methods train_ch3 calls at fixed moments of a training.

A callback is any object with one or more of the methods in EVENTS, each called with the Training. You can also give
PyTorch's schedulers, metric objects like those of torchmetrics, and plain functions. For example:

    train_ch3(net, train_iter, val_iter, loss, 30, optimizer, watched="val", callbacks=[
        torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer),
        EarlyStopping("val_loss", patience=5),
        lambda training: print(training.history["val_acc"][-1]),
    ])

A callback may have more methods. With state_dict() and load_state_dict(state), checkpoints save its state. describe()
returns the settings that the result depends on. check(training) is called before anything is trained or written.
best_epoch.py, average.py, cool_gates.py and scheduler_callbacks.py contain callbacks that are ready to use.
"""

from __future__ import annotations

import inspect
import re

from torch import nn

from utils.errors import CourseworkError
from utils.training.checks import name_of_type
from utils.training.scheduler_callbacks import PER_BATCH, SCHEDULERS, EachBatch, EachEpoch

EVENTS = (
    "on_start",  # before the training; a callback may load a checkpoint here
    "on_ready",  # after on_start of all callbacks: a resumed training is at the batch where it stopped
    "after_batch",  # after each step of the optimizer
    "after_epoch",  # after the measurement that ends an epoch
    "on_end",  # after the training, also after an error
)
ACCEPTED = (
    f"Give an object with one of {', '.join(EVENTS)}; a scheduler of torch.optim.lr_scheduler; a metric with update, "
    "compute and reset; or a function of the training."
)


def as_callbacks(callbacks) -> list:
    """Wrap schedulers, metrics and functions as callbacks; raise an error for anything else."""
    if not isinstance(callbacks, (list, tuple)):
        what = f"callbacks must be a list, but is {name_of_type(callbacks)}."
        raise CourseworkError(what, where=f"callbacks={callbacks!r}", next_step="Write callbacks=[...].")
    return [as_callback(item) for item in callbacks]


def as_callback(item):
    """Return a callback: the item itself, or an object that calls the item's own methods."""
    if isinstance(item, type):
        what = f"A callback must be an object, but {item.__name__} is a class."
        raise CourseworkError(what, where="callbacks", next_step=f"Make an object of it: {item.__name__}(...).")
    if isinstance(item, Metric):
        return item
    if _has_any(item, EVENTS):
        _check_spelling(item)
        return item
    if isinstance(item, PER_BATCH):
        return EachBatch(item)
    if isinstance(item, SCHEDULERS):
        return EachEpoch(item)
    if all(callable(getattr(item, name, None)) for name in ("update", "compute", "reset")):
        return Metric(item)
    if callable(item) and not isinstance(item, nn.Module):
        return AfterEpoch(item)
    _check_spelling(item)
    raise CourseworkError(f"{name_of_type(item)} can't be used as a callback.", where="callbacks", next_step=ACCEPTED)


def _check_spelling(item):
    """Raise an error if a method has nearly the name of an event, such as after_epochs: it would never be called."""
    for name in dir(item):
        if name.startswith(("on_", "after_", "before_")) and name not in EVENTS and callable(getattr(item, name)):
            what = f"A callback has the method {name}, but train_ch3 never calls a method of this name."
            next_step = f"Rename it: the methods that are called are {', '.join(EVENTS)}."
            raise CourseworkError(what, where=f"callbacks: {type(item).__name__}", next_step=next_step)


def _has_any(item, methods):
    return any(callable(getattr(item, method, None)) for method in methods)


class AfterEpoch:
    """Call a function with the Training after each epoch."""

    def __init__(self, function):
        self.function = function
        try:
            inspect.signature(function).bind(None)
        except TypeError:
            name = getattr(function, "__name__", name_of_type(function))
            what = f"The callback {name} can't be called with one argument, the training."
            next_step = "Write it as def after_epoch(training): ..."
            raise CourseworkError(what, where="callbacks", next_step=next_step) from None
        except ValueError:  # a function written in C may have no signature
            pass

    def after_epoch(self, training):
        self.function(training)


class Metric:
    """Measure an object with update, compute and reset on the watched images; its value is a column of the history.

    The column is named after the object's class, in lower case with underscores: `F1Score` gives val_f1_score.
    """

    def __init__(self, metric):
        self.metric = metric
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", type(metric).__name__).lower()
        self.name = name.strip("_")

    def check(self, training):
        """Raise an error if no images are watched, or if two columns would have the same name."""
        where = f"callbacks: {type(self.metric).__name__}"
        if training.test_iter is None:
            what = "A metric is measured after each epoch, but test_iter is None."
            raise CourseworkError(what, where=where, next_step="Give train_ch3 a test_iter.")
        if training.columns.count(f"{training.watched}_{self.name}") > 1:
            what = f"Two columns of the history would be called {training.watched}_{self.name}."
            next_step = "Rename one metric by a subclass: class OtherName(TheMetric): pass"
            raise CourseworkError(what, where=where, next_step=next_step)

    def begin(self, device):
        """Reset the metric before an epoch is measured, and move it to the device if it has a method `to`."""
        if hasattr(self.metric, "to"):
            self.metric.to(device)
        self.metric.reset()

    def update(self, y_hat, y):
        self.metric.update(y_hat, y)

    def value(self) -> float:
        """Return the metric's value as a float."""
        value = self.metric.compute()
        try:
            return float(value)
        except (TypeError, ValueError, RuntimeError):
            what = f"compute() must return one number for the history, but returned {name_of_type(value)}."
            next_step = "Reduce it to one number, for example with average='macro', or measure it after the training."
            raise CourseworkError(what, where=type(self.metric).__name__, next_step=next_step) from None
