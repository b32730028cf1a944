"""Losses, optimizers and learning-rate schedules (notebook 03)."""

from utils.optim.losses import LOSSES, make_loss
from utils.optim.muon import Muon
from utils.optim.optimizers import OPTIMIZERS, make_optimizer
from utils.optim.range_test import RangeTest, find_lr
from utils.optim.schedules import SCHEDULES, Schedule, lr_curve, make_schedule

__all__ = [
    "LOSSES",
    "OPTIMIZERS",
    "SCHEDULES",
    "Muon",
    "RangeTest",
    "Schedule",
    "find_lr",
    "lr_curve",
    "make_loss",
    "make_optimizer",
    "make_schedule",
    "slide_learning_rate",
]


def __getattr__(name):
    if name != "slide_learning_rate":
        raise AttributeError(f"module 'utils.optim' has no attribute {name!r}")
    from utils.optim.slider import slide_learning_rate  # imported when used: a training needs no ipywidgets

    return slide_learning_rate
