"""Callbacks that call a PyTorch scheduler after each epoch or batch: EachEpoch(scheduler), EachBatch(scheduler)."""

from __future__ import annotations

import copy
import warnings

from torch.optim import lr_scheduler

from utils.errors import CourseworkError
from utils.training.checks import name_of_type

PER_BATCH = (lr_scheduler.OneCycleLR, lr_scheduler.CyclicLR)  # these schedulers usually step after each batch
SCHEDULERS = (lr_scheduler.LRScheduler, lr_scheduler.ReduceLROnPlateau)

# Keys of a scheduler's state_dict that change during training or hold functions; all other keys are settings.
NO_SETTINGS = {"last_epoch", "_step_count", "_last_lr", "best", "num_bad_epochs", "cooldown_counter", "T_cur", "T_i"}
NO_SETTINGS |= {"verbose", "_is_initial", "_get_lr_called_within_step"}
NO_SETTINGS |= {"_scale_fn_ref", "_scale_fn_custom", "lr_lambdas"}


class EachEpoch:
    """Call a PyTorch scheduler's step() after each epoch; ReduceLROnPlateau gets the watched loss or accuracy.

    A scheduler that is listed in callbacks directly steps after each epoch, unless it is OneCycleLR or CyclicLR.
    """

    key = "Schedule"
    each = "epoch"

    def __init__(self, scheduler):
        if not all(hasattr(scheduler, name) for name in ("step", "state_dict", "load_state_dict", "optimizer")):
            given = name_of_type(scheduler)
            what = f"A scheduler must have step, state_dict, load_state_dict and optimizer, but got {given}."
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
            try:
                self.scheduler.step(*metric)
            except ValueError as error:  # from OneCycleLR, if the number of batches was not known before
                if "Tried to step" not in str(error):
                    raise
                what = f"This training needs more steps of {self.name} than it has: one after each {self.each}."
                next_step = "Make it with a larger total_steps: the number of epochs times the batches of an epoch."
                raise CourseworkError(what, where=f"callbacks: {self.name}", next_step=next_step) from error

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
