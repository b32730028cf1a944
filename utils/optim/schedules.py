"""The learning-rate schedules: by name, as torch's schedulers, and as a callback of train_ch3.

    schedule = make_schedule("one_cycle", optimizer, num_epochs=10, batches=len(train_iter))

A schedule has as many steps as the run has batches (or epochs). Position t is the learning rate after t steps: batch 0
is trained at position 0, and the last position is reached when the last batch is done.
"""

from __future__ import annotations

import copy
import functools
import types
import warnings
from collections.abc import Callable, Sequence

import torch
from torch.optim import lr_scheduler

from utils.errors import CourseworkError, check_count, require
from utils.optim.make import check_made, defaults, make, maker_of, name_of, parameters_of

# What schedulers write into the optimizer's groups.
MOVED = ("lr", "initial_lr", "max_lr", "min_lr", "momentum", "betas", "max_momentum", "base_momentum")


def constant(optimizer, steps, peaks):
    return lr_scheduler.ConstantLR(optimizer, factor=1.0)


def linear(optimizer, steps, peaks, *, end=0.0):
    return lr_scheduler.LinearLR(optimizer, start_factor=1.0, end_factor=end, total_iters=steps)


def warmup(optimizer, steps, peaks, *, start=0.01):
    return lr_scheduler.LinearLR(optimizer, start_factor=start, total_iters=steps)


def polynomial(optimizer, steps, peaks, *, power=2.0):
    return lr_scheduler.PolynomialLR(optimizer, total_iters=steps, power=power)


def exponential(optimizer, steps, peaks, *, gamma=None):
    """Without gamma, end at a hundredth of lr."""
    return lr_scheduler.ExponentialLR(optimizer, gamma=0.01 ** (1 / steps) if gamma is None else gamma)


def stairs(optimizer, steps, peaks, *, step_size=None, gamma=0.1):
    """Without step_size, make three stairs."""
    return lr_scheduler.StepLR(optimizer, step_size=step_size or -(-steps // 3), gamma=gamma)


def cosine(optimizer, steps, peaks, *, eta_min=0.0):
    return lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min)


def cyclic(optimizer, steps, peaks, *, cycles=4, low=0.1, mode="triangular", cycle_momentum=None):
    """Rise from low * lr to lr and fall back, in whole cycles."""
    lows = [low * lr for lr in peaks]
    half = steps / (2 * max(1, min(cycles, steps // 2)))
    moves_momentum = _moves_momentum(optimizer, cycle_momentum)
    _set(optimizer, "initial_lr", lows)  # torch begins the cycle there
    scheduler = lr_scheduler.CyclicLR(optimizer, lows, peaks, half, mode=mode, cycle_momentum=moves_momentum)
    _set(optimizer, "initial_lr", peaks)  # a schedule that follows this one begins there
    return scheduler


def one_cycle(optimizer, steps, peaks, *, pct_start=0.3, div_factor=25.0, final_div_factor=1e4, cycle_momentum=None):
    if pct_start * (steps + 1) == 1:
        pct_start *= 1 + 1e-9  # torch would divide by the length of a rise of zero steps
    factors = {"pct_start": pct_start, "div_factor": div_factor, "final_div_factor": final_div_factor}
    moves_momentum = _moves_momentum(optimizer, cycle_momentum)
    return lr_scheduler.OneCycleLR(optimizer, peaks, steps + 1, cycle_momentum=moves_momentum, **factors)


def plateau(optimizer, steps, peaks, *, factor=0.1, patience=10, threshold=1e-4, cooldown=0, min_lr=0.0):
    return lr_scheduler.ReduceLROnPlateau(optimizer, "min", factor, patience, threshold, "rel", cooldown, min_lr)


def triangular(optimizer, steps, peaks, *, start=0.2, peak=0.2):
    """Begin at start * lr, reach lr after the fraction `peak` of the run, end at 0."""
    return _in_turn(optimizer, steps, peaks, functools.partial(warmup, start=start), linear, peak)


def sequential(optimizer, steps, peaks, *, first="warmup", then="cosine", share=0.1):
    """Give the first of two other schedules this share of the steps, and the second one the rest."""
    makers = {"warmup": warmup}
    makers |= {name: maker for name, (maker, *_) in SCHEDULES.items() if name not in _WHOLE_RUN_ONLY}
    if not {first, then} <= makers.keys():
        raise ValueError(f"first and then must be two of {', '.join(makers)}, but are '{first}' and '{then}'.")
    return _in_turn(optimizer, steps, peaks, makers[first], makers[then], share)


def _in_turn(optimizer, steps, peaks, first, then, share):
    if not 0 < share < 1:
        raise ValueError(f"The first part must be a fraction of the run between 0 and 1, but is {share!r}.")
    early = min(max(1, round(share * steps)), max(1, steps - 1))
    parts = [first(optimizer, early, peaks), then(optimizer, max(1, steps - early), peaks)]
    return lr_scheduler.SequentialLR(optimizer, parts, milestones=[early])


def _set(optimizer, key, values):
    for group, value in zip(optimizer.param_groups, values, strict=True):
        group[key] = value


def _moves_momentum(optimizer, cycle_momentum):
    """Tell whether to cycle the momentum: as torch does by default, but only where there is momentum."""
    if cycle_momentum is not None:
        return cycle_momentum
    return all("betas" in group or group["momentum"] for group in optimizer.param_groups)


# name: (maker, what it steps after, what it does with lr). Report D, which tried the first nine, gives no settings.
SCHEDULES = {
    "constant": (constant, "epoch", "lr throughout"),
    "linear": (linear, "batch", "a straight line from lr to 0"),
    "polynomial": (polynomial, "batch", "lr times a power of the remaining fraction of the run"),
    "exponential": (exponential, "epoch", "the same factor after each epoch"),
    "step": (stairs, "epoch", "a tenth after each third of the run"),
    "cyclic": (cyclic, "batch", "up to lr and down again, four times"),
    "one_cycle": (one_cycle, "batch", "up to lr, then down to almost 0 along cosines"),
    "plateau": (plateau, "epoch", "a tenth whenever the watched loss has not fallen for over ten epochs"),
    "sequential": (sequential, "batch", "two schedules in turn: a warm-up, then a cosine"),
    "cosine": (cosine, "batch", "half a cosine from lr to 0"),
    "triangular": (triangular, "batch", "a line up to lr, then one down to 0"),
}
_WHOLE_RUN_ONLY = ("one_cycle", "plateau", "sequential", "triangular")  # torch cannot start them in the middle of a run
_BY_BATCH = (lr_scheduler.OneCycleLR, lr_scheduler.CyclicLR)  # the schedulers of torch that step after each batch


class Schedule:
    """A callback of train_ch3 that changes the learning rate after each batch or each epoch, then holds its end."""

    key = "Schedule"  # the name of its state in checkpoints

    def __init__(self, name, scheduler, each, steps, settings, peaks):
        self.name = name
        self.scheduler = scheduler
        self.each = each  # "batch" or "epoch"
        self.steps = steps  # None: it goes on for as long as the training does
        self.settings = settings
        self.peaks = peaks  # each group's learning rate as it was chosen: torch's schedulers may overwrite "initial_lr"
        self.is_plateau = isinstance(scheduler, lr_scheduler.ReduceLROnPlateau)

    def on_start(self, training):
        """Refuse to change the learning rate of an optimizer that is not the one in use."""
        require(
            training.optimizer is self.scheduler.optimizer,
            f"The schedule '{self.name}' belongs to another optimizer than the one that trains.",
            "callbacks",
            "Make the schedule from the optimizer that train_ch3 is given.",
        )
        require(
            training.test_iter is not None or not self.is_plateau,
            f"The schedule '{self.name}' has no loss to look at: nothing is measured after an epoch.",
            "test_iter=None",
            'Give train_ch3 images to watch; a Recipe does so under protocol="honest" or "report".',
        )

    def after_batch(self, training):
        if self.each == "batch":
            self._step()

    def after_epoch(self, training):
        """Step, if it steps by epochs; plateau looks at the watched loss, or in mode "max" at the watched accuracy."""
        if self.is_plateau:
            column = f"{training.watched}_{'loss' if self.scheduler.mode == 'min' else 'acc'}"
            row = training.history.rows[-1]
            require(
                column in row,
                f"The schedule '{self.name}' has no figure to look at.",
                f"no {column} in the history",
                "Give train_ch3 images to measure on after each epoch.",
            )
            self._step(row[column])
        elif self.each == "epoch":
            self._step()

    def _step(self, *metric):
        if self.steps is not None and self.scheduler.last_epoch >= self.steps:
            return
        with warnings.catch_warnings():
            # A GradScaler may have skipped the first step, and older torch warns of its own call in SequentialLR.
            warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step", UserWarning)
            warnings.filterwarnings("ignore", "The epoch parameter in", UserWarning)
            self.scheduler.step(*metric)

    def describe(self):
        """Return the settings, and the number of steps if the learning rate depends on it."""
        return {"name": self.name, "each": self.each, "steps": self.steps, "settings": self.settings}

    def state_dict(self):
        """Return all that the rest of the schedule depends on, with the optimizer's present learning rates."""
        groups = [{key: group[key] for key in MOVED if key in group} for group in self.scheduler.optimizer.param_groups]
        return {"name": self.name, "steps": self.steps, "scheduler": self.scheduler.state_dict(), "groups": groups}

    def load_state_dict(self, state):
        """Continue as planned, whether the optimizer's own state is loaded before or after this."""
        groups = self.scheduler.optimizer.param_groups
        saved = (state["name"], len(state["groups"]))
        present = (self.name, len(groups))
        what = "The saved schedule has another name, or another number of parameter groups."
        require(saved == present, what, f"saved {saved}, here {present}", "Make the schedule as it was made then.")
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
    each: str | None = None,
    **settings,
) -> Schedule:
    """Make a Schedule for num_epochs of so many batches, a callback of train_ch3. Each group's present lr is its peak.

    choice is one of SCHEDULES, or a callable that gets (optimizer, **settings) and returns one of torch's schedulers.
    A callable with a parameter called steps (all batches of the run), num_epochs or batches is told the run's length.

    each: "batch" or "epoch", when a scheduler from a callable steps. Without it, that is after each batch if the
    callable asks for `steps` or makes a OneCycleLR or CyclicLR, and after each epoch otherwise, as torch suggests.
    """
    check_count("num_epochs", num_epochs, 1)
    check_count("batches", batches, 1)
    peaks = [float(group["lr"]) for group in optimizer.param_groups]
    groups_before = [dict(group) for group in optimizer.param_groups]
    _set(optimizer, "initial_lr", peaks)  # or torch would use that of an earlier schedule
    try:
        if callable(choice):
            return _from_callable(choice, optimizer, num_epochs, batches, each, settings, peaks)
        return _from_name(choice, optimizer, num_epochs, batches, each, settings, peaks)
    except CourseworkError:
        optimizer.param_groups[:] = groups_before
        raise


def _from_name(name, optimizer, num_epochs, batches, each, settings, peaks):
    makers = {name: maker for name, (maker, _, _) in SCHEDULES.items()}
    what = "A schedule that is chosen by name decides itself when it steps."
    require(each is None, what, f"each={each!r}", "Leave each out, or give one of torch's schedulers.")
    maker_of("schedule", makers, name)  # refuses an unknown name
    each = SCHEDULES[name][1]
    steps = num_epochs * batches if each == "batch" else num_epochs
    scheduler = make("schedule", makers, name, optimizer, steps, peaks, **settings)
    if name in ("constant", "plateau"):  # the length of the run does not matter to them
        steps = None
    return Schedule(name, scheduler, each, steps, defaults(makers[name]) | settings, peaks)


def _from_callable(function, optimizer, num_epochs, batches, each, settings, peaks):
    require(
        each in (None, "batch", "epoch"),
        "A schedule steps after each batch or after each epoch.",
        f"each={each!r}",
        'Choose "batch" or "epoch", or leave it out.',
    )
    lengths = {"steps": num_epochs * batches, "num_epochs": num_epochs, "batches": batches}
    asked = {parameter.name for parameter in parameters_of(function) or []} - settings.keys()
    lengths = {name: length for name, length in lengths.items() if name in asked}
    scheduler = make("schedule", {}, function, optimizer, **lengths, **settings)
    check_made("schedule", scheduler, lr_scheduler.LRScheduler, function)
    require(
        scheduler.optimizer is optimizer,
        f"The schedule '{name_of(function)}' belongs to another optimizer than the one that it was given.",
        "schedule",
        "Make the scheduler from the function's first argument.",
    )
    if each is None:
        each = "batch" if "steps" in lengths or isinstance(scheduler, _BY_BATCH) else "epoch"
    if isinstance(scheduler, _BY_BATCH):  # their peak is a setting of their own
        peaks = [float(group["max_lr"]) for group in optimizer.param_groups]
    steps = scheduler.total_steps if isinstance(scheduler, lr_scheduler.OneCycleLR) else None  # torch refuses one more
    return Schedule(name_of(function), scheduler, each, steps, settings, peaks)


def lr_curve(
    choice: str | Callable, lr: float, *, num_epochs: int, batches: int, losses: Sequence | None = None, **settings
) -> tuple[list, list]:
    """Return (epochs as fractions, learning rates) of every batch and of the point after the last one.

    Plateau follows losses, the watched loss after each epoch.
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
