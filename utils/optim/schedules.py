"""Learning-rate schedules, chosen by name or made from torch's schedulers, as callbacks of train_ch3.

    schedule = make_schedule("one_cycle", optimizer, num_epochs=10, batches=len(train_iter))

A schedule has as many steps as the run has batches (or epochs). Position t is the learning rate after t steps: batch 0
is trained at position 0, and the last position is reached after the last batch.
"""

from __future__ import annotations

import copy
import functools
import types
from collections.abc import Callable, Sequence

import torch
from torch.optim import lr_scheduler

from utils.errors import CourseworkError, check_count, require
from utils.optim.make import check_made, defaults, make, maker_of, name_of, parameters_of
from utils.training.scheduler_callbacks import PER_BATCH, EachEpoch

# The entries of the optimizer's parameter groups that schedulers change.
CHANGED = ("lr", "initial_lr", "max_lr", "min_lr", "momentum", "betas", "max_momentum", "base_momentum")


def constant(optimizer, steps, peaks):
    return lr_scheduler.ConstantLR(optimizer, factor=1.0)


def linear(optimizer, steps, peaks, *, end=0.0):
    return lr_scheduler.LinearLR(optimizer, start_factor=1.0, end_factor=end, total_iters=steps)


def warmup(optimizer, steps, peaks, *, start=0.01):
    return lr_scheduler.LinearLR(optimizer, start_factor=start, total_iters=steps)


def polynomial(optimizer, steps, peaks, *, power=2.0):
    return lr_scheduler.PolynomialLR(optimizer, total_iters=steps, power=power)


def exponential(optimizer, steps, peaks, *, gamma=None):
    """Without gamma, the learning rate ends at a hundredth of lr."""
    return lr_scheduler.ExponentialLR(optimizer, gamma=0.01 ** (1 / steps) if gamma is None else gamma)


def stairs(optimizer, steps, peaks, *, step_size=None, gamma=0.1):
    """Without step_size, the run has three steps of equal length."""
    return lr_scheduler.StepLR(optimizer, step_size=step_size or -(-steps // 3), gamma=gamma)


def cosine(optimizer, steps, peaks, *, eta_min=0.0):
    return lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min)


def cyclic(optimizer, steps, peaks, *, cycles=4, low=0.1, mode="triangular", cycle_momentum=None):
    """Rise from low * lr to lr and fall back, in whole cycles."""
    lows = [low * lr for lr in peaks]
    half = steps / (2 * max(1, min(cycles, steps // 2)))
    moves_momentum = _moves_momentum(optimizer, cycle_momentum)
    _set(optimizer, "initial_lr", lows)  # torch starts the cycle at initial_lr
    scheduler = lr_scheduler.CyclicLR(optimizer, lows, peaks, half, mode=mode, cycle_momentum=moves_momentum)
    _set(optimizer, "initial_lr", peaks)  # a schedule that follows this one starts at initial_lr
    return scheduler


def one_cycle(optimizer, steps, peaks, *, pct_start=0.3, div_factor=25.0, final_div_factor=1e4, cycle_momentum=None):
    if pct_start * (steps + 1) == 1:
        pct_start *= 1 + 1e-9  # or the learning rate would rise in zero steps, and torch would divide by zero
    factors = {"pct_start": pct_start, "div_factor": div_factor, "final_div_factor": final_div_factor}
    moves_momentum = _moves_momentum(optimizer, cycle_momentum)
    return lr_scheduler.OneCycleLR(optimizer, peaks, steps + 1, cycle_momentum=moves_momentum, **factors)


def plateau(optimizer, steps, peaks, *, factor=0.1, patience=10, threshold=1e-4, cooldown=0, min_lr=0.0):
    return lr_scheduler.ReduceLROnPlateau(optimizer, "min", factor, patience, threshold, "rel", cooldown, min_lr)


def triangular(optimizer, steps, peaks, *, start=0.2, peak=0.2):
    """Start at start * lr, reach lr after the fraction `peak` of the run, and end at 0."""
    return _in_turn(optimizer, steps, peaks, functools.partial(warmup, start=start), linear, peak)


def sequential(optimizer, steps, peaks, *, first="warmup", then="cosine", share=0.1):
    """Use the first of two other schedules for this share of the steps, and the second one for the rest."""
    makers = {"warmup": warmup}
    makers |= {name: maker for name, (maker, *_) in SCHEDULES.items() if name not in _WHOLE_RUN_ONLY}
    if not {first, then} <= makers.keys():
        raise ValueError(f"first and then must be two of {', '.join(makers)}, but are '{first}' and '{then}'.")
    return _in_turn(optimizer, steps, peaks, makers[first], makers[then], share)


def _in_turn(optimizer, steps, peaks, first, then, share):
    if not 0 < share < 1:
        raise ValueError(f"The first schedule's share must be a fraction between 0 and 1, but is {share!r}.")
    early = min(max(1, round(share * steps)), max(1, steps - 1))
    schedulers = [first(optimizer, early, peaks), then(optimizer, max(1, steps - early), peaks)]
    return lr_scheduler.SequentialLR(optimizer, schedulers, milestones=[early])


def _set(optimizer, key, values):
    for group, value in zip(optimizer.param_groups, values, strict=True):
        group[key] = value


def _moves_momentum(optimizer, cycle_momentum):
    """Return True if the momentum is to be cycled: by default, as in torch, but only if the optimizer has momentum."""
    if cycle_momentum is not None:
        return cycle_momentum
    return all("betas" in group or group.get("momentum") for group in optimizer.param_groups)


# name: (function that makes it, when it steps, how it is explained in the report, whatever the settings).
# Report D, which tried the first nine, gives no settings.
SCHEDULES = {
    "constant": (constant, "epoch", "it stays the same"),
    "linear": (linear, "batch", "it falls on a straight line to 0"),
    "polynomial": (polynomial, "batch", "it falls as a power of the remaining part of the training"),
    "exponential": (exponential, "epoch", "it is multiplied by the same factor after each epoch"),
    "step": (stairs, "epoch", "it is multiplied by a factor after each third of the training"),
    "cyclic": (cyclic, "batch", "it rises and falls in several cycles"),
    "one_cycle": (one_cycle, "batch", "it rises to its maximum and then falls to almost 0, along cosines"),
    "plateau": (plateau, "epoch", "it is reduced whenever the measured loss has not fallen for some epochs"),
    "sequential": (
        sequential,
        "batch",
        "a first schedule, by default a warm-up, is followed by another, by default half a cosine",
    ),
    "cosine": (cosine, "batch", "it falls to 0 along half a cosine"),
    "triangular": (triangular, "batch", "it rises to its maximum on a straight line and falls to 0 on another"),
}
_WHOLE_RUN_ONLY = ("one_cycle", "plateau", "sequential", "triangular")  # torch can't start them in the middle of a run


class Schedule(EachEpoch):
    """A callback of train_ch3 that changes the learning rate after each batch or each epoch.

    After the schedule's last step the learning rate does not change any more.
    """

    peaks = None  # each group's lr before the scheduler was made, which may overwrite "initial_lr"

    def __init__(self, name, scheduler, each, steps, settings, peaks):
        super().__init__(scheduler)
        self.name = name
        self.each = each  # "batch" or "epoch"
        self.steps = steps  # None: no limit
        self.settings = settings
        self.peaks = peaks

    def _check_length(self, training, where):
        """Accept any length: a schedule that is shorter than the training keeps its last learning rate."""

    def after_batch(self, training):
        if self.each == "batch":
            self._step()

    def after_epoch(self, training):
        """Step, if it steps by epochs; plateau gets the watched loss, or in mode "max" the watched accuracy."""
        if self.is_plateau or self.each == "epoch":
            super().after_epoch(training)

    def _step(self, *metric):
        if self.steps is None or self.scheduler.last_epoch < self.steps:
            super()._step(*metric)

    def describe(self):
        """Return the settings, and the number of steps if the learning rate depends on it."""
        return {"name": self.name, "each": self.each, "steps": self.steps, "settings": self.settings}

    def state_dict(self):
        """Return the state of the scheduler, and the optimizer's current learning rates."""
        groups = [
            {key: group[key] for key in CHANGED if key in group} for group in self.scheduler.optimizer.param_groups
        ]
        return {"name": self.name, "steps": self.steps, "scheduler": self.scheduler.state_dict(), "groups": groups}

    def load_state_dict(self, state):
        """Continue the schedule; the optimizer's own state may be loaded before or after this."""
        groups = self.scheduler.optimizer.param_groups
        saved = (state["name"], len(state["groups"]))
        present = (self.name, len(groups))
        what = "The saved schedule has another name, or another number of parameter groups."
        require(saved == present, what, f"saved {saved}, now {present}", "Make the schedule with the same arguments.")
        state = copy.deepcopy(state)  # torch removes what it has read
        self.steps = state["steps"]
        self.scheduler.load_state_dict(state["scheduler"])
        for group, values in zip(groups, state["groups"], strict=True):
            group.update(values)


def make_schedule(
    choice: str | Callable,
    optimizer: torch.optim.Optimizer,
    *,
    num_epochs: int,
    batches: int,
    **settings,
) -> Schedule:
    """Make a Schedule, a callback of train_ch3, for num_epochs epochs of `batches` batches.

    The current lr of each parameter group is its peak. choice is one of SCHEDULES, or a callable that is called with
    (optimizer, **settings) and returns one of torch's schedulers. If it has a parameter called steps (all batches of
    the run), num_epochs or batches, it also gets this number. The scheduler steps after each batch if the callable has
    a parameter `steps` or returns a OneCycleLR or CyclicLR; otherwise after each epoch, as torch suggests.
    """
    check_count("num_epochs", num_epochs, 1)
    check_count("batches", batches, 1)
    peaks = [float(group["lr"]) for group in optimizer.param_groups]
    groups_before = [dict(group) for group in optimizer.param_groups]
    _set(optimizer, "initial_lr", peaks)  # or torch would use the one of an earlier schedule
    try:
        if callable(choice):
            return _from_callable(choice, optimizer, num_epochs, batches, settings, peaks)
        return _from_name(choice, optimizer, num_epochs, batches, settings, peaks)
    except CourseworkError:
        optimizer.param_groups[:] = groups_before
        raise


def _from_name(name, optimizer, num_epochs, batches, settings, peaks):
    makers = {name: maker for name, (maker, _, _) in SCHEDULES.items()}
    maker_of("schedule", makers, name)  # raises an error for an unknown name
    each = SCHEDULES[name][1]
    steps = num_epochs * batches if each == "batch" else num_epochs
    scheduler = make("schedule", makers, name, optimizer, steps, peaks, **settings)
    if name in ("constant", "plateau"):  # the length of the run does not matter to them
        steps = None
    return Schedule(name, scheduler, each, steps, defaults(makers[name]) | settings, peaks)


def _from_callable(function, optimizer, num_epochs, batches, settings, peaks):
    lengths = {"steps": num_epochs * batches, "num_epochs": num_epochs, "batches": batches}
    asked = {parameter.name for parameter in parameters_of(function) or []} - settings.keys()
    lengths = {name: length for name, length in lengths.items() if name in asked}
    scheduler = make("schedule", {}, function, optimizer, **lengths, **settings)
    check_made("schedule", scheduler, lr_scheduler.LRScheduler, function)
    require(
        scheduler.optimizer is optimizer,
        f"The schedule '{name_of(function)}' was made with another optimizer than the one in its first argument.",
        "schedule",
        "Make the scheduler with the function's first argument.",
    )
    each = "batch" if "steps" in lengths or isinstance(scheduler, PER_BATCH) else "epoch"
    if isinstance(scheduler, PER_BATCH):  # their peak is max_lr and not the optimizer's lr
        peaks = [float(group["max_lr"]) for group in optimizer.param_groups]
    # After this number of steps, OneCycleLR.step() raises an error.
    steps = scheduler.total_steps if isinstance(scheduler, lr_scheduler.OneCycleLR) else None
    return Schedule(name_of(function), scheduler, each, steps, settings, peaks)


def lr_curve(
    choice: str | Callable, lr: float, *, num_epochs: int, batches: int, losses: Sequence | None = None, **settings
) -> tuple[list, list]:
    """Return (epochs as fractions, learning rates) of every batch and of the point after the last one.

    losses: for plateau, the watched loss after each epoch.
    """
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr, momentum=0.9)
    schedule = make_schedule(choice, optimizer, num_epochs=num_epochs, batches=batches, **settings)
    if schedule.is_plateau:
        require(
            losses is not None and len(losses) == num_epochs,
            "The curve of plateau depends on the losses.",
            f"losses={losses!r}, num_epochs={num_epochs}",
            "Give losses=, one number for each epoch.",
        )
    training = types.SimpleNamespace(watched="val", history=types.SimpleNamespace(rows=[]))
    lrs = [optimizer.param_groups[0]["lr"]]
    for t in range(num_epochs * batches):
        schedule.after_batch(training)
        if (t + 1) % batches == 0:
            loss = losses[t // batches] if schedule.is_plateau else None
            training.history.rows.append({"val_loss": loss})
            schedule.after_epoch(training)
        lrs.append(optimizer.param_groups[0]["lr"])
    return [i / batches for i in range(len(lrs))], lrs
