"""Callbacks: objects whose methods train_ch3 calls at fixed moments of a training.

A callback is any object with one or more of the methods in EVENTS, each called with the Training. PyTorch's schedulers,
metric objects like those of torchmetrics, and plain functions can also be given; as_callbacks wraps them:

    train_ch3(net, train_iter, val_iter, loss, 30, optimizer, watched="val", callbacks=[
        torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer),
        EarlyStopping("val_loss", patience=5),
        lambda training: print(training.history["val_acc"][-1]),
    ])

A callback may also have state_dict() and load_state_dict(state), for the state that checkpoints save; describe(), for
the settings that the result depends on; and check(training), which is called before anything is trained or written.
"""

from __future__ import annotations

import copy
import inspect
import math
import re
import warnings

from torch import nn
from torch.optim import lr_scheduler

from utils.errors import CourseworkError

# on_ready: all on_start have been called, and a resumed training is back at the epoch and batch where it stopped.
EVENTS = ("on_start", "on_ready", "after_batch", "after_epoch", "on_end")
ACCEPTED = (
    f"Give an object with one of {', '.join(EVENTS)}; a scheduler of torch.optim.lr_scheduler; a metric with update, "
    "compute and reset; or a function of the training."
)
PER_BATCH = (lr_scheduler.OneCycleLR, lr_scheduler.CyclicLR)  # these schedulers usually step after each batch
SCHEDULERS = (lr_scheduler.LRScheduler, lr_scheduler.ReduceLROnPlateau)

# Keys of a scheduler's state_dict that change during training or hold functions; all other keys are settings.
NO_SETTINGS = {"last_epoch", "_step_count", "_last_lr", "best", "num_bad_epochs", "cooldown_counter", "T_cur", "T_i"}
NO_SETTINGS |= {"verbose", "_is_initial", "_get_lr_called_within_step"}
NO_SETTINGS |= {"_scale_fn_ref", "_scale_fn_custom", "lr_lambdas"}


def as_callbacks(callbacks) -> list:
    """Wrap schedulers, metrics and functions as callbacks; raise an error for anything else."""
    if not isinstance(callbacks, (list, tuple)):
        what = f"callbacks must be a list, but is {_kind(callbacks)}."
        raise CourseworkError(what, where=f"callbacks={callbacks!r}", next_step="Write callbacks=[...].")
    return [as_callback(item) for item in callbacks]


def as_callback(item):
    """Return item itself if it is a callback, else a callback that calls it."""
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
    raise CourseworkError(f"{_kind(item)} can't be used as a callback.", where="callbacks", next_step=ACCEPTED)


def _check_spelling(item):
    """Raise an error if a method is named like an event, such as after_epochs, but would never be called."""
    for name in dir(item):
        if name.startswith(("on_", "after_", "before_")) and name not in EVENTS and callable(getattr(item, name)):
            what = f"A callback has the method {name}, but train_ch3 never calls a method of this name."
            next_step = f"Rename it: the methods that are called are {', '.join(EVENTS)}."
            raise CourseworkError(what, where=f"callbacks: {type(item).__name__}", next_step=next_step)


def _has_any(item, methods):
    return any(callable(getattr(item, method, None)) for method in methods)


def _kind(item):
    """Return an object's type as text: "an object of type str"."""
    return f"an object of type {type(item).__name__}"


class AfterEpoch:
    """Call a function with the Training after each epoch."""

    def __init__(self, function):
        self.function = function
        try:
            inspect.signature(function).bind(None)
        except TypeError:
            name = getattr(function, "__name__", _kind(function))
            what = f"The callback {name} can't be called with one argument, the training."
            next_step = "Write it as def after_epoch(training): ..."
            raise CourseworkError(what, where="callbacks", next_step=next_step) from None
        except ValueError:  # a function written in C may have no signature
            pass

    def after_epoch(self, training):
        self.function(training)


class EachEpoch:
    """Call a PyTorch scheduler's step() after each epoch; ReduceLROnPlateau gets the watched loss or accuracy.

    A scheduler that is listed in callbacks directly steps after each epoch, unless it is OneCycleLR or CyclicLR.
    """

    key = "Schedule"
    each = "epoch"

    def __init__(self, scheduler):
        if not all(hasattr(scheduler, name) for name in ("step", "state_dict", "load_state_dict", "optimizer")):
            what = f"A scheduler must have step, state_dict, load_state_dict and optimizer, but got {_kind(scheduler)}."
            next_step = "Give a scheduler of torch.optim.lr_scheduler."
            raise CourseworkError(what, where=f"{type(self).__name__}(...)", next_step=next_step)
        self.scheduler = scheduler
        self.name = type(scheduler).__name__
        self.is_plateau = isinstance(scheduler, lr_scheduler.ReduceLROnPlateau)

    @property
    def peaks(self) -> list:
        """The highest learning rate of each parameter group: the scheduler's max_lr, or the rate at the start."""
        groups = self.scheduler.optimizer.param_groups
        rates = [group.get("max_lr", group.get("initial_lr", group["lr"])) for group in groups]
        return [float(rate) for rate in getattr(self.scheduler, "max_lrs", rates)]

    def check(self, training):
        """Raise an error if the scheduler has another optimizer, needs a loss that is not measured, or is too short."""
        where = f"callbacks: {self.name}"
        if self.scheduler.optimizer is not training.optimizer:
            what = (
                f"{self.name} changes the learning rate of a different optimizer, not of the one used in this training."
            )
            next_step = "Make the scheduler with the optimizer that you give to train_ch3."
            raise CourseworkError(what, where=where, next_step=next_step)
        if self.is_plateau:
            self._check_plateau(training, where)
        self._check_length(training, where)

    def _check_length(self, training, where):
        steps = training.num_epochs * (training.batches or 0 if self.each == "batch" else 1)
        length = getattr(self.scheduler, "total_steps", None)
        if length is not None and length < steps:
            what = f"{self.name} has {length} steps, but this training needs {steps}: one after each {self.each}."
            next_step = f"Make it with total_steps={steps}, or wrap it: EachBatch(scheduler) or EachEpoch(scheduler)."
            raise CourseworkError(what, where=where, next_step=next_step)

    def _check_plateau(self, training, where):
        if self.each == "batch":
            what = f"{self.name} can't step after each batch: the loss that it needs is measured after each epoch."
            raise CourseworkError(what, where=where, next_step="Use EachEpoch(scheduler).")
        if training.test_iter is None:
            what = f"{self.name} needs a loss measured after each epoch, but test_iter is None."
            next_step = "Give train_ch3 a test_iter, or choose another scheduler."
            raise CourseworkError(what, where=where, next_step=next_step)
        for group in training.optimizer.param_groups:  # store the starting rate, as torch's other schedulers do
            group.setdefault("initial_lr", group["lr"])

    def after_epoch(self, training):
        if self.is_plateau:
            quantity = "acc" if self.scheduler.mode == "max" else "loss"
            self._step(training.history.rows[-1][f"{training.watched}_{quantity}"])
        else:
            self._step()

    def _step(self, *metric):
        with warnings.catch_warnings():
            # torch warns if a GradScaler skipped the first step, and older versions warn in SequentialLR itself.
            warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step", UserWarning)
            warnings.filterwarnings("ignore", "The epoch parameter in", UserWarning)
            self.scheduler.step(*metric)

    def describe(self):
        """Return the scheduler's class, "epoch" or "batch", and its settings."""
        return {"name": self.name, "each": self.each, "settings": _settings(self.scheduler.state_dict())}

    def state_dict(self):
        return self.scheduler.state_dict()

    def load_state_dict(self, state):
        self.scheduler.load_state_dict(copy.deepcopy(state))  # a copy, since torch removes entries from the dict


class EachBatch(EachEpoch):
    """Call a PyTorch scheduler's step() after each batch."""

    each = "batch"

    def after_batch(self, training):
        self._step()

    def after_epoch(self, training):
        """Do nothing, since the scheduler has already stepped after the epoch's last batch."""


def _settings(state):
    """Return a scheduler's settings, with those of the schedulers inside it."""
    settings = {}
    for name, value in state.items():
        if name == "_schedulers":
            settings["schedulers"] = [_settings(inner) for inner in value]
        elif name not in NO_SETTINGS:
            settings[name.lstrip("_")] = value
    return settings


class Metric:
    """Add a metric object (with update, compute, reset), measured on the watched images, as a column of the history.

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
            what = f"compute() must return one number for the history, but returned {_kind(value)}."
            next_step = "Reduce it to one number, for example with average='macro', or measure it after the training."
            raise CourseworkError(what, where=type(self.metric).__name__, next_step=next_step) from None


def is_better(column, value, best) -> bool:
    """Return True if value is better than the best so far: lower for a loss, higher for all other columns."""
    if best is None or math.isnan(best):
        return not math.isnan(value)
    return value < best if column.endswith("loss") else value > best


def check_column(column, training, where):
    """Raise an error if the history will not have this column."""
    if column not in training.columns:
        what = f"The history of this training will have no column {column!r}."
        raise CourseworkError(what, where=where, next_step=f"Choose one of {', '.join(training.columns)}.")


class EarlyStopping:
    """End a training if a column of the history has not improved for `patience` epochs.

    A loss improves if it falls by more than min_delta, every other column if it rises by more than min_delta. The
    training then counts as finished; history.ended_early and the run's record contain the reason.
    """

    key = "EarlyStopping"

    def __init__(self, column="val_loss", patience=5, min_delta=0.0):
        if isinstance(patience, bool) or not isinstance(patience, int) or patience < 1:
            what = f"patience must be a whole number of epochs, at least 1, but is {patience!r}."
            raise CourseworkError(what, where="EarlyStopping", next_step="For example: patience=5.")
        self.column = column
        self.patience = patience
        self.min_delta = min_delta
        self._reset()

    def _reset(self):
        self.best = None
        self.best_epoch = 0

    def check(self, training):
        check_column(self.column, training, "EarlyStopping")

    def on_start(self, training):
        """Reset the best epoch, since the object may have been used in an earlier training."""
        self._reset()

    def after_epoch(self, training):
        """Remember the epoch if it is better; else stop if there was no improvement for `patience` epochs."""
        value = training.history.rows[-1][self.column]
        margin = self.min_delta if self.column.endswith("loss") else -self.min_delta
        if is_better(self.column, value + margin, self.best):
            self.best = value
            self.best_epoch = training.epoch
        elif training.epoch - self.best_epoch >= self.patience and training.epoch < training.num_epochs:
            training.end_early(self.column, self.best, self.best_epoch, self.patience)

    def describe(self):
        return {"column": self.column, "patience": self.patience, "min_delta": self.min_delta}

    def state_dict(self):
        return {"best": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state):
        self.best = state["best"]
        self.best_epoch = state["best_epoch"]


class KeepBest:
    """Remember the weights of the best epoch; with restore=True, load them into the network at the end of the training.

    column: the column of the history that is compared, by default the accuracy on the watched images. If several epochs
    are equally good, the first one is the best. `row` is that epoch's row, `weights` the measured network's state_dict.
    """

    key = "KeepBest"

    def __init__(self, column=None, restore=False):
        self.column = column
        self.restore = restore
        self.row = None
        self.weights = None

    def check(self, training):
        check_column(self._column_of(training), training, "KeepBest")

    def _column_of(self, training):
        return self.column or f"{training.watched}_acc"

    def on_start(self, training):
        """Reset the best epoch, since the object may have been used in an earlier training."""
        self.row = None
        self.weights = None

    def after_epoch(self, training):
        """Copy the measured network's weights if this epoch is the best so far."""
        column = self._column_of(training)
        row = training.history.rows[-1]
        if self.row is None or is_better(column, row[column], self.row[column]):
            self.row = dict(row)
            weights = training.measured_net.state_dict()
            self.weights = {name: tensor.detach().clone() for name, tensor in weights.items()}

    def on_end(self, training):
        """Load the best weights into the measured network; the last checkpoint has been written before this."""
        if self.restore and training.complete and training.error is None and self.weights is not None:
            training.measured_net.load_state_dict(self.weights)

    def state_dict(self):
        return {"row": self.row, "weights": self.weights, "restore": self.restore}

    def load_state_dict(self, state):
        self.row = state["row"]
        self.weights = state["weights"]
