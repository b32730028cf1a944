"""Callbacks that compare epochs: EarlyStopping("val_loss", patience=5), KeepBest(restore=True)."""

from __future__ import annotations

import math

from utils.errors import CourseworkError, check_count, require


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

    column: by default the loss on the watched images. A loss improves if it falls by more than min_delta, every other
    column if it rises by more than min_delta. The training then counts as finished; history.ended_early and the run's
    record contain the reason.
    """

    key = "EarlyStopping"

    def __init__(self, column=None, patience=5, min_delta=0.0):
        self.column = column
        self.patience = check_count("patience", patience, 1)
        self.min_delta = min_delta
        self._reset()

    def _reset(self):
        self.best = None
        self.best_epoch = 0

    def check(self, training):
        self.column = self.column or f"{training.watched}_loss"
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
            reason = {"epoch": training.epoch, "column": self.column, "patience": self.patience}
            training.history.ended_early = reason | self.state_dict()

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
        return {"row": self.row, "weights": self.weights, "restore": self.restore, "column": self.column}

    def load_state_dict(self, state):
        saved = state.get("column", self.column)  # earlier versions did not save it
        what = f"The saved training compared the epochs by the column {saved}, but now it is {self.column}."
        require(saved == self.column, what, "KeepBest", "Give KeepBest the same column, or start in another folder.")
        self.row = state["row"]
        self.weights = state["weights"]
