"""The learning-rate range test: train a copy with a growing learning rate, to find a good one for a training.

test = find_lr(net, train_iter, loss, optimizer)
test.tenth, test.suggestion
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
import statistics

import torch

from utils.errors import DivergedError, check_count, require
from utils.my_utils import train_batch, train_epoch_ch3
from utils.training.measure import place


@dataclasses.dataclass(frozen=True)
class RangeTest:
    """The result of find_lr: the loss of each batch, the losses smoothed over neighbours, and two learning rates."""

    lrs: list
    losses: list
    smoothed: list
    suggestion: float  # where the smoothed loss has its steepest gradient
    tenth: float  # a tenth of the learning rate with the lowest smoothed loss; usually the safer choice


def find_lr(
    net: torch.nn.Module,
    train_iter,
    loss,
    optimizer: torch.optim.Optimizer,
    device=None,
    *,
    low: float = 1e-6,
    high: float = 1.0,
    steps: int = 100,
    step=train_batch,
) -> RangeTest:
    """Train copies of net and optimizer with a learning rate that grows from low to high, batch by batch.

    The test ends early if the loss is more than four times its lowest value, or is not finite. The ratio of the
    parameter groups' learning rates does not change. Afterwards torch's random state is restored, and a loader with
    set_position is at the start of its current epoch.
    """
    check_count("steps", steps, 10)
    what = "In a range test, the learning rate must grow from low to high."
    require(0 < low < high, what, f"low={low}, high={high}", "Choose 0 < low < high.")
    # Copied together, so that the copied optimizer holds the parameters of the copied network.
    net, optimizer, step = copy.deepcopy((net, optimizer, step))
    device = place(net, device)
    epoch = getattr(train_iter, "epoch", None)
    sweep = _Sweep(optimizer, [low * (high / low) ** (i / (steps - 1)) for i in range(steps)])
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []), contextlib.suppress(DivergedError):
            batches = sweep.batches(train_iter)
            train_epoch_ch3(net, batches, loss, optimizer, device, step=step, after_batch=sweep.note)
    finally:
        if hasattr(train_iter, "set_position"):
            train_iter.set_position(epoch)
    what = f"The loss is not finite after {len(sweep.losses)} batches."
    require(len(sweep.losses) >= 3, what, f"low={low}", "Choose a smaller low.")
    return read_range(sweep.lrs[: len(sweep.losses)], sweep.losses, reach=max(1, steps // 20))


class _Sweep:
    """A range test in progress: set the learning rate before each batch, and record the loss after it."""

    def __init__(self, optimizer, lrs):
        self.lrs = lrs
        self.losses = []
        self.is_over = False
        first = optimizer.param_groups[0]["lr"]
        self._groups = [(group, group["lr"] / first if first else 1.0) for group in optimizer.param_groups]
        self._best = math.inf
        self._sum = 0.0  # the sum of all losses so far
        self._count = 0  # the number of all examples so far

    def batches(self, train_iter):
        """Yield batches, in several passes if needed, until the test is over."""
        done_before = -1
        while len(self.losses) > done_before:  # end if a pass over the loader gave no loss
            done_before = len(self.losses)
            for batch in train_iter:
                if self.is_over:
                    return
                for group, ratio in self._groups:
                    group["lr"] = self.lrs[len(self.losses)] * ratio
                yield batch

    def note(self, metric):
        """Record the last batch's loss, the difference of the epoch's sums before and after it; set is_over."""
        total = float(metric[0])
        count = metric[2]
        value = (total - self._sum) / (count - self._count)
        self._sum = total
        self._count = count
        if math.isfinite(value):
            self.losses.append(value)
            recent = self.losses[-5:]
            self._best = min(self._best, sum(recent) / len(recent))
        self.is_over = not value <= 4 * self._best or len(self.losses) == len(self.lrs)


def read_range(lrs: list, losses: list, reach: int = 5) -> RangeTest:
    """Smooth the losses of a range test over `reach` neighbours on each side, and find the two learning rates.

    The smoothed loss is a median. A mean would rise before the loss does, since it contains the explosion at the end.
    """
    smoothed = [statistics.median(losses[max(0, i - reach) : i + reach + 1]) for i in range(len(losses))]
    lowest = smoothed.index(min(smoothed))
    # The rates are equally spaced on a logarithmic axis, so the steepest gradient is where the difference is largest.
    changes = {i: smoothed[i + 1] - smoothed[i - 1] for i in range(1, lowest)} or {0: 0.0}
    steepest = min(changes, key=changes.get)
    return RangeTest(lrs, losses, smoothed, suggestion=lrs[steepest], tenth=lrs[lowest] / 10)
