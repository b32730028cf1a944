"""Spaces of hyperparameters: for each setting, a range of numbers or a list of choices, checked before any training.

space = {"lr": log_range(0.01, 1), "optimizer_settings.momentum": linear_range(0.5, 0.99), "batch_size": [64, 128]}
"""

from __future__ import annotations

import dataclasses
import math

from torch import nn

from utils.errors import CourseworkError, require
from utils.experiments.trial import TRAIN_OPTIONS, axis_values, vary
from utils.files import plain
from utils.optim.losses import make_loss
from utils.optim.optimizers import make_optimizer
from utils.optim.schedules import make_schedule
from utils.recipes import Recipe
from utils.recipes.recipe import as_plain_data
from utils.runs.schema import is_number

DIGITS = 4  # significant digits of a proposed number, so that tables are short and exact
FOR_EXAMPLE = 'For example: {"lr": log_range(0.01, 1), "network_settings.width": [8, 16]}.'


@dataclasses.dataclass(frozen=True)
class Range:
    """The numbers from low to high; whole numbers if both ends are whole. See log_range and linear_range."""

    low: float
    high: float
    is_log: bool

    def __post_init__(self):
        where = f"{'log' if self.is_log else 'linear'}_range({self.low!r}, {self.high!r})"
        is_range = is_number(self.low) and is_number(self.high) and self.low < self.high
        require(is_range, "A range goes from a number to a larger number.", where, FOR_EXAMPLE)
        is_positive = self.low > 0 or not self.is_log
        require(is_positive, "A logarithmic range contains only numbers above 0.", where, "Use linear_range.")

    @property
    def is_whole(self) -> bool:
        """Whether the range contains whole numbers only."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def at(self, fraction: float):
        """Return the number at a fraction (from 0 to 1, without 1) of the range."""
        low, high = self.low, self.high + self.is_whole
        if self.is_log:
            value = math.exp(math.log(low) + fraction * (math.log(high) - math.log(low)))
        else:
            value = low + fraction * (high - low)
        return self.rounded(math.floor(value) if self.is_whole else value)

    def rounded(self, value):
        """Return a number of the range with a few significant digits."""
        value = int(value) if self.is_whole else float(f"{value:.{DIGITS}g}")
        return min(max(value, self.low), self.high)


def log_range(low: float, high: float) -> Range:
    """Return a range in which 0.001 to 0.01 is as likely as 0.01 to 0.1: for learning rates, decays and widths."""
    return Range(low, high, is_log=True)


def linear_range(low: float, high: float) -> Range:
    """Return a range in which all numbers are equally likely. Whole ends, such as (2, 8), give whole numbers."""
    return Range(low, high, is_log=False)


def checked_space(recipe: Recipe, space: dict) -> dict:
    """Return {setting: Range or {label: value}}; raise an error if the recipe can't have one of the values."""
    is_space = isinstance(space, dict) and space
    require(is_space, "The space must be a dict {setting: values}, and not empty.", f"space={space!r}", FOR_EXAMPLE)
    checked = {}
    for axis, values in space.items():
        if axis in TRAIN_OPTIONS:
            what = f"A search can't vary {axis}: it compares trials of the same seed on the same held-out images."
            raise CourseworkError(what, where=f"space, {axis!r}", next_step="Compare the best trials with run_grid.")
        if isinstance(values, Range):
            checked[axis], tried = values, (values.low, values.high)
        else:  # a label must be the same after it was written to a file and read
            choices = axis_values(axis, values)
            checked[axis] = {label if plain(label) == label else str(label): choices[label] for label in choices}
            tried = choices.values()
        for value in tried:
            _check_value(recipe, axis, value)
    return checked


def _check_value(recipe, axis, value):
    """Raise an error if the recipe can't be trained with this value: make its parts as a training would."""
    old = getattr(recipe, axis, None)
    try:
        if isinstance(old, int) and (not isinstance(value, int) or value < 1):
            raise ValueError("it must be a whole number, 1 or more")
        varied = vary(recipe, axis, value)
        varied.macs()  # makes the network, without numbers in its weights
        make_loss(varied.loss, **varied.loss_settings)
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2))  # has parameters of every kind
        optimizer = make_optimizer(varied.optimizer, net, varied.lr, **varied.optimizer_settings)
        epochs = varied.num_epochs
        make_schedule(varied.schedule, optimizer, num_epochs=epochs, batches=10, **varied.schedule_settings)
    except Exception as error:  # of any part, which may be the user's own
        what = f"{axis} can't have the value {value!r}: {getattr(error, 'what', error)}"
        next_step = getattr(error, "next_step", None) or "Change the values of this setting."
        raise CourseworkError(what, where=f"space, {axis!r}", next_step=next_step) from error


def space_as_plain_data(space: dict) -> dict:
    """Return a checked space as plain data, for the search's file."""
    described = {}
    for axis, values in space.items():
        is_range = isinstance(values, Range)
        described[axis] = dataclasses.asdict(values) if is_range else as_plain_data(list(values.items()))
    return described
