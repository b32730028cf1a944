"""Callbacks: what a training tells about itself, and who may listen.

A callback is any object with one or more of the methods in EVENTS, each called with the Training. torch's schedulers,
objects like those of torchmetrics, and plain functions are wrapped into one:

    train_ch3(net, train_iter, val_iter, loss, 30, optimizer, watched="val", callbacks=[
        torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer),
        EarlyStopping("val_loss", patience=5),
        lambda training: print(training.history["val_acc"][-1]),
    ])

A callback may also have state_dict() and load_state_dict(state), for what must survive a resume; describe(), for the
settings that the result depends on; and check(training), which is called before anything is trained or written.
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

# on_ready: all callbacks have started, and a resumed training is where it was.
EVENTS = ("on_start", "on_ready", "after_batch", "after_epoch", "on_end")
ACCEPTED = (
    f"Give an object with one of {', '.join(EVENTS)}; a scheduler of torch.optim.lr_scheduler; a metric with update, "
    "compute and reset; or a function of the training."
)
PER_BATCH = (lr_scheduler.OneCycleLR, lr_scheduler.CyclicLR)  # their lengths are counted in batches by custom
SCHEDULERS = (lr_scheduler.LRScheduler, lr_scheduler.ReduceLROnPlateau)

# What torch's schedulers change while they step, and functions; everything else in their state is a setting.
MOVING = {"last_epoch", "_step_count", "_last_lr", "best", "num_bad_epochs", "cooldown_counter", "T_cur", "T_i"}
MOVING |= {"verbose", "_is_initial", "_get_lr_called_within_step", "_scale_fn_ref", "_scale_fn_custom", "lr_lambdas"}


def as_callbacks(callbacks) -> list:
    """Return the callbacks with everything wrapped that needs it; refuse what could never be called."""
    if not isinstance(callbacks, (list, tuple)):
        what = f"callbacks must be a list, but is {_kind(callbacks)}."
        raise CourseworkError(what, where=f"callbacks={callbacks!r}", next_step="Write callbacks=[...].")
    return [as_callback(item) for item in callbacks]


def as_callback(item):
    """Return an object that has one of the EVENTS, or a Metric."""
    if isinstance(item, type):
        what = f"A callback must be an object, but {item.__name__} is a class."
        raise CourseworkError(what, where="callbacks", next_step=f"Make an object of it: {item.__name__}(...).")
    if isinstance(item, Metric) or _has_any(item, EVENTS):
        return item
    if isinstance(item, PER_BATCH):
        return EachBatch(item)
    if isinstance(item, SCHEDULERS):
        return EachEpoch(item)
    if all(callable(getattr(item, name, None)) for name in ("update", "compute", "reset")):
        return Metric(item)
    if callable(item) and not isinstance(item, nn.Module):
        return AfterEpoch(item)
    raise CourseworkError(f"{_kind(item)} can't be used as a callback.", where="callbacks", next_step=ACCEPTED)


def _has_any(item, methods):
    return any(callable(getattr(item, method, None)) for method in methods)


def _kind(item):
    """Name an object by its type: "an object of type str"."""
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
    """Step a scheduler of torch's after each epoch; a plateau scheduler is given the watched loss or accuracy.

    A scheduler that is listed in callbacks directly steps after each epoch, unless it is OneCycleLR or CyclicLR.
    """

    key = "Schedule"
    each = "epoch"

    def __init__(self, scheduler):
        if not all(hasattr(scheduler, name) for name in ("step", "state_dict", "load_state_dict", "optimizer")):
            what = f"A scheduler has step, state_dict, load_state_dict and optimizer; {_kind(scheduler)} lacks some."
            next_step = "Give one of torch.optim.lr_scheduler."
            raise CourseworkError(what, where=f"{type(self).__name__}(...)", next_step=next_step)
        self.scheduler = scheduler
        self.name = type(scheduler).__name__
        self.is_plateau = isinstance(scheduler, lr_scheduler.ReduceLROnPlateau)

    @property
    def peaks(self) -> list:
        """The highest learning rate of each parameter group, as far as the scheduler tells it."""
        groups = self.scheduler.optimizer.param_groups
        rates = [group.get("max_lr", group.get("initial_lr", group["lr"])) for group in groups]
        return [float(rate) for rate in getattr(self.scheduler, "max_lrs", rates)]

    def check(self, training):
        """Refuse a scheduler that would move nothing, have nothing to look at, or come to its end too early."""
        where = f"callbacks: {self.name}"
        if self.scheduler.optimizer is not training.optimizer:
            what = f"{self.name} moves the learning rate of another optimizer than the one that trains."
            next_step = "Make the scheduler from the optimizer that train_ch3 is given."
            raise CourseworkError(what, where=where, next_step=next_step)
        if self.is_plateau:
            self._check_plateau(training, where)
        steps = training.num_epochs * (training.batches or 0 if self.each == "batch" else 1)
        length = getattr(self.scheduler, "total_steps", None)
        if length is not None and length < steps:
            what = f"{self.name} was made for {length} steps, but this training has {steps}: one for each {self.each}."
            next_step = f"Make it with total_steps={steps}, or wrap it: EachBatch(scheduler) or EachEpoch(scheduler)."
            raise CourseworkError(what, where=where, next_step=next_step)

    def _check_plateau(self, training, where):
        if self.each == "batch":
            what = f"{self.name} needs the watched loss, which is measured after each epoch and not after each batch."
            raise CourseworkError(what, where=where, next_step="Use EachEpoch(scheduler).")
        if training.test_iter is None:
            what = f"{self.name} needs the loss on images that are watched, but nothing is measured after an epoch."
            next_step = "Give train_ch3 a test_iter, or choose another scheduler."
            raise CourseworkError(what, where=where, next_step=next_step)
        for group in training.optimizer.param_groups:  # as torch's other schedulers do: the rate it began with
            group.setdefault("initial_lr", group["lr"])

    def after_epoch(self, training):
        if self.is_plateau:
            quantity = "acc" if self.scheduler.mode == "max" else "loss"
            self._step(training.history.rows[-1][f"{training.watched}_{quantity}"])
        else:
            self._step()

    def _step(self, *metric):
        with warnings.catch_warnings():
            # A GradScaler may have skipped the first step, and older torch warns of its own call in SequentialLR.
            warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step", UserWarning)
            warnings.filterwarnings("ignore", "The epoch parameter in", UserWarning)
            self.scheduler.step(*metric)

    def describe(self):
        """Return the class, what it steps after, and its settings."""
        return {"name": self.name, "each": self.each, "settings": _settings(self.scheduler.state_dict())}

    def state_dict(self):
        return self.scheduler.state_dict()

    def load_state_dict(self, state):
        self.scheduler.load_state_dict(copy.deepcopy(state))  # torch takes out of it what it has read


class EachBatch(EachEpoch):
    """Step a scheduler of torch's after each batch."""

    each = "batch"

    def after_batch(self, training):
        self._step()

    def after_epoch(self, training):
        """Do nothing: the epoch's last batch has moved the rate already."""


def _settings(state):
    """Return a scheduler's settings, those of the schedulers inside it too."""
    settings = {}
    for name, value in state.items():
        if name == "_schedulers":
            settings["schedulers"] = [_settings(inner) for inner in value]
        elif name not in MOVING:
            settings[name.lstrip("_")] = value
    return settings


class Metric:
    """A column of the history: what an object with update, compute and reset makes of the watched images.

    The column is named after the object's class, in lower case with underscores: `F1Score` gives val_f1_score.
    """

    def __init__(self, metric):
        self.metric = metric
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", type(metric).__name__).lower()
        self.name = name.strip("_")

    def check(self, training):
        """Refuse it where nothing is watched, and where its column would replace another one."""
        where = f"callbacks: {type(self.metric).__name__}"
        if training.test_iter is None:
            what = "A metric needs images to watch, but nothing is measured after an epoch."
            raise CourseworkError(what, where=where, next_step="Give train_ch3 a test_iter.")
        if training.columns.count(f"{training.watched}_{self.name}") > 1:
            what = f"Two columns of the history would be called {training.watched}_{self.name}."
            next_step = "Give the metric a class with another name: class Other(TheMetric): pass"
            raise CourseworkError(what, where=where, next_step=next_step)

    def begin(self, device):
        """Forget the epoch before, and move to the device if the object can."""
        if hasattr(self.metric, "to"):
            self.metric.to(device)
        self.metric.reset()

    def update(self, y_hat, y):
        self.metric.update(y_hat, y)

    def value(self) -> float:
        """Return the object's one number."""
        value = self.metric.compute()
        try:
            return float(value)
        except (TypeError, ValueError, RuntimeError):
            what = f"compute() must give one number for the history, but gave {_kind(value)}."
            next_step = "Reduce it to a number (average='macro', say), or measure it after the training."
            raise CourseworkError(what, where=type(self.metric).__name__, next_step=next_step) from None


def is_better(column, value, best) -> bool:
    """Tell whether a value of this column is better than the best so far: a lower loss, a higher anything else."""
    if best is None or math.isnan(best):
        return not math.isnan(value)
    return value < best if column.endswith("loss") else value > best


def check_column(column, training, where):
    """Refuse the name of a column that the history will not have."""
    if column not in training.columns:
        what = f"The history of this training will have no column {column!r}."
        raise CourseworkError(what, where=where, next_step=f"Choose one of {', '.join(training.columns)}.")


class EarlyStopping:
    """End a training when a column of the history has not become better for `patience` epochs.

    A loss is better when it is lower by more than min_delta, anything else when it is higher by more. The training then
    counts as finished; history.ended_early and the run's record say why it is shorter.
    """

    key = "EarlyStopping"

    def __init__(self, column="val_loss", patience=5, min_delta=0.0):
        if isinstance(patience, bool) or not isinstance(patience, int) or patience < 1:
            what = f"patience must be a whole number of epochs, at least 1, but is {patience!r}."
            raise CourseworkError(what, where="EarlyStopping", next_step="Choose 5, say.")
        self.column = column
        self.patience = patience
        self.min_delta = min_delta
        self._begin_again()

    def _begin_again(self):
        self.best = None
        self.best_epoch = 0

    def check(self, training):
        check_column(self.column, training, "EarlyStopping")

    def on_start(self, training):
        """Forget the training before this one."""
        self._begin_again()

    def after_epoch(self, training):
        """Note a better epoch, or end the training if the last better one is too long ago."""
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
    """Remember the weights of the best epoch; with restore=True, the network has them when the training is finished.

    column: which of the history's columns decides, by default the accuracy on the watched images. Of several epochs
    that are equally good the first one counts. `row` is that epoch's row, `weights` the measured network's state.
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
        """Forget the training before this one."""
        self.row = None
        self.weights = None

    def after_epoch(self, training):
        """Copy the measured network's weights if no epoch before was better."""
        column = self._column_of(training)
        row = training.history.rows[-1]
        if self.row is None or is_better(column, row[column], self.row[column]):
            self.row = dict(row)
            self.weights = {name: tensor.detach().clone() for name, tensor in training.scored.state_dict().items()}

    def on_end(self, training):
        """Put the best weights into the measured network, after the last checkpoint has been written."""
        if self.restore and training.complete and training.error is None and self.weights is not None:
            training.scored.load_state_dict(self.weights)

    def state_dict(self):
        return {"row": self.row, "weights": self.weights, "restore": self.restore}

    def load_state_dict(self, state):
        self.row = state["row"]
        self.weights = state["weights"]
