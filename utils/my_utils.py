"""Owns the coursework's heart: accuracy, Accumulator, evaluate_accuracy, train_epoch_ch3, train_ch3. Knows no file.

Every training of the suite runs through the loop of `train_epoch_ch3`. What a training may add to it, from mixed
precision to checkpoints, attaches in two places and is not needed to understand it:
- `step` does what is done with a batch; `train_batch` is the plain one, `utils/training/step.py` has others,
- `callbacks` are told what happens: any object that has one or more of the methods on_start, on_ready (all have
  started, a resumed training is back in its place), after_batch, after_epoch and on_end, each called with the Training.
"""

from __future__ import annotations

import torch

from utils.errors import CourseworkError
from utils.training.measure import in_mode, mean_loss, means, place
from utils.training.state import Training


def accuracy(y_hat, y):
    """Count a batch's correct predictions; y_hat holds scores (B, classes). The count is a tensor on their device."""
    return (y_hat.argmax(dim=1) == y).sum()


class Accumulator:
    """Sums of n quantities. Tensors are added up on their device; float(sums[i]) reads one, and waits for it."""

    def __init__(self, n):
        self.data = [0] * n

    def __len__(self):
        return len(self.data)

    def __getitem__(self, i):
        return self.data[i]

    def add(self, *values):
        """Add one value to each sum."""
        if len(values) != len(self.data):
            what = f"This accumulator keeps {len(self.data)} sums and was given {len(values)} values."
            raise CourseworkError(what, where="Accumulator.add", next_step="Give one value for each sum.")
        self.data = [total + value for total, value in zip(self.data, values, strict=True)]

    def reset(self):
        """Begin at zero again."""
        self.data = [0] * len(self.data)


def evaluate_accuracy(net, data_iter, device=None, *, predict=None):
    """Return the fraction of data_iter's examples that net classifies correctly."""
    return evaluate(net, data_iter, None, device, predict=predict)[1]


@torch.no_grad()
def evaluate(net, data_iter, loss, device=None, *, predict=None):
    """Return (mean loss, fraction correct) over data_iter in eval mode; predict(net, X) may stand in for net(X)."""
    device = place(net, device)
    metric = Accumulator(3)  # summed loss, correct predictions, examples
    with in_mode(net, training=False):
        for X, y in data_iter:
            X, y = X.to(device, non_blocking=True), y.to(device, non_blocking=True)
            y_hat = net(X) if predict is None else predict(net, X)
            average = mean_loss(loss, y_hat, y) if loss is not None else float("nan")
            metric.add(average * len(y), accuracy(y_hat, y), len(y))
    return means(metric)


def train_batch(net, X, y, loss, optimizer):
    """Take one step down the gradient of the batch's mean loss; return that loss and the scores before the step."""
    optimizer.zero_grad()
    y_hat = net(X)
    average = mean_loss(loss, y_hat, y)
    average.backward()
    optimizer.step()
    return average.detach(), y_hat.detach()


def train_epoch_ch3(net, train_iter, loss, optimizer, device=None, *, step=train_batch, metric=None, after_batch=None):
    """Train for one pass over train_iter; return its (mean loss, fraction correct), measured while it learned.

    metric holds the sums of an epoch that was begun before; after_batch(metric) is called after each batch.
    """
    device = place(net, device)
    metric = Accumulator(3) if metric is None else metric  # summed loss, correct predictions, examples
    with in_mode(net, training=True):
        for X, y in train_iter:
            X, y = X.to(device, non_blocking=True), y.to(device, non_blocking=True)
            average, y_hat = step(net, X, y, loss, optimizer)
            metric.add(average * len(y), accuracy(y_hat, y), len(y))
            if after_batch is not None:
                after_batch(metric)
    return means(metric)


def train_ch3(
    net,
    train_iter,
    test_iter,
    loss,
    num_epochs,
    optimizer,
    device=None,
    *,
    step=train_batch,
    callbacks=(),
    watched="test",
    curves=True,
    record=True,
    every=None,
):
    """Train for num_epochs, measure on test_iter (or None) after each, draw the curves; return the History.

    watched names the images of test_iter in the history: "test", or "val" if they are held-out training images. every
    is the number of batches between two points of the training-loss curve: 50, or a tenth of a shorter epoch. record
    puts the training on the ledger that utils/runs/run.py reads; a text names it there. An interrupt ends it after the
    batch under way, and the history so far is returned.
    """
    device = place(net, device)
    if record:
        from utils.runs.recorder import Recorder  # only those who keep a record need files

        kept = any(isinstance(callback, Recorder) for callback in callbacks)
        callbacks = (
            callbacks if kept else (Recorder(name=record if isinstance(record, str) else "training"), *callbacks)
        )
    if curves:
        from utils.training.live import LiveCurves  # only those who draw need matplotlib

        callbacks = (*callbacks, LiveCurves())
    training = Training(
        net, train_iter, test_iter, loss, num_epochs, optimizer, device, step, callbacks, watched, every
    )
    training.metric, predict = Accumulator(3), getattr(step, "predict", None)
    with training.under_way():  # the callbacks hear of it, and an interrupt waits for the end of a batch
        while training.epoch < num_epochs:
            begun = {"metric": training.metric, "after_batch": training.after_batch}
            learned = train_epoch_ch3(net, training.rest_of_epoch(), loss, optimizer, device, step=step, **begun)
            measured = None
            if test_iter is not None:
                measured = evaluate(training.scored, training.unless_stopped(test_iter), loss, device, predict=predict)
            training.close_epoch(learned, measured)
    return training.history
