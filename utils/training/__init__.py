"""One training in memory (notebook 04): callbacks, the training step, averaged weights, how much of a recipe is run."""

from utils.devices import best_precision
from utils.training.average import Average
from utils.training.best_epoch import EarlyStopping, KeepBest
from utils.training.cool_gates import CoolGates
from utils.training.effort import Effort, choose_effort
from utils.training.scheduler_callbacks import EachBatch, EachEpoch
from utils.training.step import Step

__all__ = [
    "Average",
    "CoolGates",
    "Effort",
    "EachBatch",
    "EachEpoch",
    "EarlyStopping",
    "KeepBest",
    "Step",
    "best_precision",
    "choose_effort",
]
