"""Owns how the learning rate moves, as data and as a callback of train_ch3, and the test that finds a rate to start at.

A schedule has as many steps as the run has batches (or epochs). Position t of it is the rate after t steps: batch 0 is
trained at position 0, and the last position, the schedule's end, is reached when the last batch is done.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import types
import warnings

import torch
from torch.optim import lr_scheduler

from utils.data.order import check_count, require
from utils.errors import CourseworkError, DivergedError
from utils.my_utils import train_batch, train_epoch_ch3
from utils.optim.losses import defaults, make
from utils.training.measure import place

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
    """Without gamma, end at a hundredth."""
    return lr_scheduler.ExponentialLR(optimizer, gamma=0.01 ** (1 / steps) if gamma is None else gamma)


def stairs(optimizer, steps, peaks, *, step_size=None, gamma=0.1):
    """Without step_size, make three stairs."""
    return lr_scheduler.StepLR(optimizer, step_size=step_size or -(-steps // 3), gamma=gamma)


def cosine(optimizer, steps, peaks, *, eta_min=0.0):
    return lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min)


def cyclic(optimizer, steps, peaks, *, cycles=4, low=0.1, mode="triangular", cycle_momentum=None):
    """Go up from low * lr to lr and down again, in whole cycles."""
    lows, moving = [low * lr for lr in peaks], _moves_momentum(optimizer, cycle_momentum)
    half = steps / (2 * max(1, min(cycles, steps // 2)))
    _set(optimizer, "initial_lr", lows)  # where torch lets it begin
    scheduler = lr_scheduler.CyclicLR(optimizer, lows, peaks, half, mode=mode, cycle_momentum=moving)
    _set(optimizer, "initial_lr", peaks)  # where a schedule that follows it begins
    return scheduler


def one_cycle(optimizer, steps, peaks, *, pct_start=0.3, div_factor=25.0, final_div_factor=1e4, cycle_momentum=None):
    if pct_start * (steps + 1) == 1:
        pct_start *= 1 + 1e-9  # torch would divide by the length of a climb of no step
    factors = {"pct_start": pct_start, "div_factor": div_factor, "final_div_factor": final_div_factor}
    moving = _moves_momentum(optimizer, cycle_momentum)
    return lr_scheduler.OneCycleLR(optimizer, peaks, steps + 1, cycle_momentum=moving, **factors)


def plateau(optimizer, steps, peaks, *, factor=0.1, patience=10, threshold=1e-4, cooldown=0, min_lr=0.0):
    return lr_scheduler.ReduceLROnPlateau(optimizer, "min", factor, patience, threshold, "rel", cooldown, min_lr)


def triangular(optimizer, steps, peaks, *, start=0.2, peak=0.2):
    """Begin at start * lr, be at lr after the fraction peak of the run, end at 0."""
    return _in_turn(optimizer, steps, peaks, functools.partial(warmup, start=start), linear, peak)


def sequential(optimizer, steps, peaks, *, first="warmup", then="cosine", share=0.1):
    """Give the first of two other schedules its share of the steps, and the second the rest."""
    makers = {"warmup": warmup} | {name: maker for name, (maker, *_) in SCHEDULES.items() if name not in _NO_PART}
    if not {first, then} <= makers.keys():
        raise ValueError(f"'{first}' and '{then}' are not two of {', '.join(makers)}.")
    return _in_turn(optimizer, steps, peaks, makers[first], makers[then], share)


def _in_turn(optimizer, steps, peaks, first, then, share):
    if not 0 < share < 1:
        raise ValueError(f"The first part is a fraction of the run between 0 and 1, not {share!r}.")
    early = min(max(1, round(share * steps)), max(1, steps - 1))
    parts = [first(optimizer, early, peaks), then(optimizer, max(1, steps - early), peaks)]
    return lr_scheduler.SequentialLR(optimizer, parts, milestones=[early])


def _set(optimizer, key, values):
    for group, value in zip(optimizer.param_groups, values, strict=True):
        group[key] = value


def _moves_momentum(optimizer, wish):
    # As torch does unless told, but only where there is momentum.
    return all("betas" in group or group["momentum"] for group in optimizer.param_groups) if wish is None else wish


# name: (maker, what it steps after, what it does with lr). Report D, which tried the first nine, gives no settings.
SCHEDULES = {
    "constant": (constant, "epoch", "lr throughout"),
    "linear": (linear, "batch", "a straight line from lr to 0"),
    "polynomial": (polynomial, "batch", "lr times a power of what is left of the run"),
    "exponential": (exponential, "epoch", "the same factor after each epoch"),
    "step": (stairs, "epoch", "a tenth after each third of the run"),
    "cyclic": (cyclic, "batch", "up to lr and down again, four times"),
    "one_cycle": (one_cycle, "batch", "up to lr, then down to almost 0 along cosines"),
    "plateau": (plateau, "epoch", "a tenth whenever the watched loss has not fallen for over ten epochs"),
    "sequential": (sequential, "batch", "two schedules in turn: a warm-up, then a cosine"),
    "cosine": (cosine, "batch", "half a cosine from lr to 0"),
    "triangular": (triangular, "batch", "a line up to lr, then one down to 0"),
}
_NO_PART = ("one_cycle", "plateau", "sequential", "triangular")  # torch cannot start them in the middle of a run


class Schedule:
    """A callback of train_ch3 that moves the learning rate after each batch or each epoch. Its end is then held."""

    key = "Schedule"  # its state's name in checkpoints

    def __init__(self, name, scheduler, each, steps, settings):
        self.name, self.scheduler, self.each, self.steps, self.settings = name, scheduler, each, steps, settings

    def on_start(self, training):
        """Refuse to move the learning rate of an optimizer that is not the one in use."""
        what = f"The schedule '{self.name}' belongs to another optimizer than the one that trains."
        advice = "Make the schedule from the optimizer that train_ch3 is given."
        require(training.optimizer is self.scheduler.optimizer, what, "callbacks", advice)
        if self.name == "plateau":
            what, where = "Plateau has no loss to look at: nothing is measured after an epoch.", "test_iter=None"
            advice = 'Give train_ch3 images to watch; a Recipe does under protocol="honest" or "report".'
            require(training.test_iter is not None, what, where, advice)

    def after_batch(self, training):
        if self.each == "batch":
            self._step()

    def after_epoch(self, training):
        """Step, if by epochs; plateau looks at the loss of the images that are watched."""
        if self.name == "plateau":
            column = f"{training.watched}_loss"
            row, advice = training.history.rows[-1], "Give train_ch3 images to measure on after each epoch."
            require(column in row, "Plateau has no loss to look at.", f"no {column} in the history", advice)
            self._step(row[column])
        elif self.each == "epoch":
            self._step()

    def _step(self, *loss):
        if self.steps is not None and self.scheduler.last_epoch >= self.steps:
            return
        with warnings.catch_warnings():
            # A GradScaler may have left the first step out, and older torch warns of its own call in SequentialLR.
            warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step", UserWarning)
            warnings.filterwarnings("ignore", "The epoch parameter in", UserWarning)
            self.scheduler.step(*loss)

    def describe(self):
        """Return the settings, and the number of steps if the rate depends on it."""
        return {"name": self.name, "each": self.each, "steps": self.steps, "settings": self.settings}

    def state_dict(self):
        """Return all that the rest of the schedule depends on, the optimizer's present rates and momenta included."""
        groups = [{key: group[key] for key in MOVED if key in group} for group in self.scheduler.optimizer.param_groups]
        return {"name": self.name, "steps": self.steps, "scheduler": self.scheduler.state_dict(), "groups": groups}

    def load_state_dict(self, state):
        """Go on as was planned, whether the optimizer's own state is loaded before or after this."""
        groups = self.scheduler.optimizer.param_groups
        saved, here = (state["name"], len(state["groups"])), (self.name, len(groups))
        what = "The saved schedule has another name, or another number of parameter groups."
        require(saved == here, what, f"saved {saved}, here {here}", "Make it as it was made then.")
        state = copy.deepcopy(state)  # torch takes out of it what it has read
        self.steps = state["steps"]
        self.scheduler.load_state_dict(state["scheduler"])
        for group, saved in zip(groups, state["groups"], strict=True):
            group.update(saved)


def make_schedule(name, optimizer, *, num_epochs, batches, **settings):
    """Make a Schedule of SCHEDULES for num_epochs of so many batches; it goes to train_ch3's callbacks.

    Each group of the optimizer has its present lr as its peak.
    """
    check_count("num_epochs", num_epochs, 1)
    check_count("batches", batches, 1)
    each = SCHEDULES.get(name, (None, None))[1]
    steps = num_epochs * (batches if each == "batch" else 1)
    peaks = [float(group["lr"]) for group in optimizer.param_groups]
    before = [dict(group) for group in optimizer.param_groups]
    _set(optimizer, "initial_lr", peaks)  # or torch would go by that of an earlier schedule
    makers = {name: maker for name, (maker, _, _) in SCHEDULES.items()}
    try:
        scheduler = make("schedule", makers, name, optimizer, steps, peaks, **settings)
    except CourseworkError:
        optimizer.param_groups[:] = before
        raise
    endless = name in ("constant", "plateau")  # the length of the run plays no part in them
    return Schedule(name, scheduler, each, None if endless else steps, defaults(makers[name]) | settings)


def lr_curve(name, lr, *, num_epochs, batches, losses=None, **settings):
    """Return (epochs as fractions, lrs): the rate of each batch and the one after the last, by the Schedule itself.

    Plateau goes by losses, the watched loss after each epoch.
    """
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr, momentum=0.9)
    schedule = make_schedule(name, optimizer, num_epochs=num_epochs, batches=batches, **settings)
    if name == "plateau":
        fits, where = losses is not None and len(losses) == num_epochs, f"losses={losses!r}, num_epochs={num_epochs}"
        require(fits, "The curve of plateau depends on the losses.", where, "Give losses=, one number for each epoch.")
    training = types.SimpleNamespace(watched="val", history=types.SimpleNamespace(rows=[]))
    lrs = [optimizer.param_groups[0]["lr"]]
    for t in range(num_epochs * batches):
        schedule.after_batch(training)
        if (t + 1) % batches == 0:
            training.history.rows.append({"val_loss": losses[t // batches]} if name == "plateau" else {})
            schedule.after_epoch(training)
        lrs.append(optimizer.param_groups[0]["lr"])
    return [i / batches for i in range(len(lrs))], lrs


@dataclasses.dataclass(frozen=True)
class RangeTest:
    """What find_lr saw: the loss of each batch, the same smoothed over its neighbours, and two rates to start at."""

    lrs: list
    losses: list
    smoothed: list
    suggestion: float  # where the smoothed loss falls most steeply
    tenth: float  # a tenth of the rate at which the smoothed loss is lowest, the more careful of two customs


def find_lr(net, train_iter, loss, optimizer, device=None, *, low=1e-6, high=1.0, steps=100, step=train_batch):
    """Train copies with a learning rate that grows from low to high, batch by batch; leave net and optimizer as is.

    It ends early when the loss is over four times the best so far, or no number any more. All groups keep their
    proportions. Torch's random state is put back; a loader with set_position to the start of the epoch it was in.
    """
    check_count("steps", steps, 10)
    require(0 < low < high, "The rates go up from low to high.", f"low={low}, high={high}", "Choose 0 < low < high.")
    # Copied together, so that the optimizer's copy holds the parameters of the net's.
    net, optimizer, step = copy.deepcopy((net, optimizer, step))
    device, epoch = place(net, device), getattr(train_iter, "epoch", None)
    sweep = _Sweep(optimizer, [low * (high / low) ** (i / (steps - 1)) for i in range(steps)])
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []), contextlib.suppress(DivergedError):
            train_epoch_ch3(net, sweep.batches(train_iter), loss, optimizer, device, step=step, after_batch=sweep.note)
    finally:
        if hasattr(train_iter, "set_position"):
            train_iter.set_position(epoch)
    what, advice = f"The loss is not finite after {len(sweep.losses)} batches.", "Choose a smaller low."
    require(len(sweep.losses) >= 3, what, f"low={low}", advice)
    return _read(sweep.lrs[: len(sweep.losses)], sweep.losses, reach=max(1, steps // 20))


class _Sweep:
    """A range test under way: sets the rate before each batch, notes the loss after it, knows when to stop."""

    def __init__(self, optimizer, lrs):
        self.lrs, self.losses, self.over = lrs, [], False
        first = optimizer.param_groups[0]["lr"]
        self._groups = [(group, group["lr"] / first if first else 1.0) for group in optimizer.param_groups]
        self._best, self._sums = float("inf"), (0.0, 0)

    def batches(self, train_iter):
        """Yield batches, in several passes if need be, until the test is over."""
        seen = -1
        while len(self.losses) > seen:  # a pass of which nothing came is the last
            seen = len(self.losses)
            for batch in train_iter:
                if self.over:
                    return
                for group, share in self._groups:
                    group["lr"] = self.lrs[len(self.losses)] * share
                yield batch

    def note(self, metric):
        total, count = float(metric[0]), metric[2]
        value = (total - self._sums[0]) / (count - self._sums[1])
        self._sums = total, count
        if value - value == 0:  # neither NaN nor infinite
            self.losses.append(value)
            self._best = min(self._best, sum(self.losses[-5:]) / len(self.losses[-5:]))
        self.over = not value <= 4 * self._best or len(self.losses) == len(self.lrs)


def _read(lrs, losses, reach):
    """Smooth the losses over as many neighbours on each side, and look for the two rates."""
    windows = [losses[max(0, i - reach) : i + reach + 1] for i in range(len(losses))]
    smoothed = [sum(window) / len(window) for window in windows]
    lowest = smoothed.index(min(smoothed))
    # The rates are equally far apart on a logarithmic axis, and so the steepest fall there is the largest difference.
    falls = {i: smoothed[i + 1] - smoothed[i - 1] for i in range(1, lowest)} or {0: 0.0}
    return RangeTest(lrs, losses, smoothed, lrs[min(falls, key=falls.get)], lrs[lowest] / 10)
