"""One training in memory (notebook 04): callbacks, the training step, averaged weights, how much of a recipe is run."""

from utils.training.average import Average
from utils.training.budget import Budget, choose_budget
from utils.training.callbacks import EachBatch, EachEpoch, EarlyStopping, KeepBest
from utils.training.step import Step, best_precision

__all__ = [
    "Average",
    "Budget",
    "EachBatch",
    "EachEpoch",
    "EarlyStopping",
    "KeepBest",
    "Step",
    "best_precision",
    "choose_budget",
]
