"""The state of a training under way: its position, its callbacks, and how it is stopped."""

from __future__ import annotations

import contextlib
import signal
import threading
import time

from utils.errors import DivergedError
from utils.training.callbacks import Metric, as_callbacks
from utils.training.checks import (
    check_batches,
    check_epochs,
    check_loss,
    check_network,
    check_optimizer,
    checked_batches,
)
from utils.training.history import History
from utils.training.measure import place

# When a callback is called at each event, by its attribute `order`; those of one order in the order of the list.
FIRST = -2  # the recorder, which takes the run's folder before anyone else touches it
EARLY = -1  # those that look at the folder once it is taken
NORMAL = 0  # all that have no attribute `order`
SAVING = 1  # checkpoints, which save what the others have done with the same batch
LAST = 2  # those that show the result, such as the curves

EVERY, POINTS = 50, 10  # batches between two points of the loss, or less where an epoch would have fewer points


class Stopped(Exception):
    """Leaves the loop between two batches; `Training.under_way` catches it."""


class Training:
    """The state of a training under way in train_ch3; callbacks are given it, to read it, resume it or stop it."""

    def __init__(
        self,
        net,
        train_iter,
        test_iter,
        loss,
        num_epochs,
        optimizer,
        device,
        step,
        callbacks=(),
        watched="",
        every=None,
    ):
        check_network(net)
        check_loss(loss, step)
        check_optimizer(optimizer, net, step)
        self.num_epochs = check_epochs(num_epochs)
        self.train_iter = check_batches(train_iter, "train_iter", self.num_epochs)
        self.test_iter = None if test_iter is None else check_batches(test_iter, "test_iter", self.num_epochs)
        self.net = net
        self.loss = loss
        self.optimizer = optimizer
        self.step = step
        self.watched = watched
        callbacks = as_callbacks(callbacks)
        self.metrics = [callback for callback in callbacks if isinstance(callback, Metric)]
        self.callbacks = tuple(sorted(callbacks, key=lambda callback: getattr(callback, "order", NORMAL)))
        self.history = History(every or points_every(self.batches))
        self.metric = None  # the sums of the epoch under way: loss, correct predictions, examples
        self.epoch = 0  # whole epochs done
        self.batch = 0  # batches done of the epoch under way
        self.loader_epoch = None  # the one that the last batch came from, as train_iter counts them
        self.scored = net  # the network that is measured after an epoch; an averaged one may take its place
        self.stop = False  # set it to end the training after the batch under way
        self.error = None  # what ended the training
        self.earlier = 0.0  # seconds of the attempts before this one
        self.begun = time.perf_counter()
        self._listeners = [callback.after_batch for callback in self.callbacks if hasattr(callback, "after_batch")]
        self.tell("check")
        self.device = place(net, device)

    @property
    def batches(self):
        """The number of batches in an epoch, or None if train_iter does not know it."""
        try:
            return len(self.train_iter)
        except TypeError:  # a generator, or a DataLoader over a stream
            return None

    @property
    def columns(self):
        """The names of the history's columns."""
        names = ["epoch", "train_loss", "train_acc"]
        if self.test_iter is not None:
            names += [f"{self.watched}_loss", f"{self.watched}_acc"]
            names += [f"{self.watched}_{metric.name}" for metric in self.metrics]
        return [*names, "lr", "seconds"]

    @property
    def complete(self):
        """Whether nothing is left to train: all epochs are done, or a callback has ended the training early."""
        return self.epoch >= self.num_epochs or self.history.ended_early is not None

    @property
    def lr(self):
        """The learning rate in force, that of the first group if there are several."""
        return float(self.optimizer.param_groups[0]["lr"])

    @property
    def seconds(self):
        """How long this training has run, all attempts together."""
        return self.earlier + time.perf_counter() - self.begun

    def tell(self, event):
        """Call this method of every callback that has it."""
        for callback in self.callbacks:
            if hasattr(callback, event):
                getattr(callback, event)(self)

    def tell_end(self):
        """Tell the callbacks in reverse order, each of them even if another one fails: what began first ends last."""
        with contextlib.ExitStack() as stack:
            for callback in self.callbacks:
                if hasattr(callback, "on_end"):
                    stack.callback(callback.on_end, self)

    def after_batch(self, metric):
        """Count the batch, note a point of the loss curve now and then, tell those who listen."""
        self.batch, self.loader_epoch = self.batch + 1, getattr(self.train_iter, "epoch", None)
        if self.batch % self.history.every == 0:
            self.history.add_point(self.epoch + self.batch / (self.batches or self.batch), metric, self.lr)
        for listener in self._listeners:
            listener(self)
        if self.stop:
            raise Stopped

    def rest_of_epoch(self):
        """Return the batches left to train on: none if the last attempt ended between training and measuring."""
        if self.batch and self.batch == self.batches:
            return ()
        return checked_batches(self.train_iter, "train_iter")

    def watched_batches(self):
        """Yield the batches to measure on, until somebody sets stop."""
        for metric in self.metrics:
            metric.begin(self.device)
        for batch in checked_batches(self.test_iter, "test_iter"):
            if self.stop:
                raise Stopped
            yield batch

    def close_epoch(self, in_training, measured):
        """Write the epoch's row, (loss, accuracy) in training and as measured after it, and begin the next."""
        if self.batch % self.history.every:
            self.history.add_point(self.epoch + 1.0, self.metric, self.lr)
        row = {"epoch": self.epoch + 1, "train_loss": in_training[0], "train_acc": in_training[1]}
        if measured is not None:
            row[f"{self.watched}_loss"], row[f"{self.watched}_acc"] = measured
            for metric in self.metrics:
                row[f"{self.watched}_{metric.name}"] = metric.value()
        self.history.add_row(**row, lr=self.lr, seconds=self.seconds)
        self.epoch, self.batch = self.epoch + 1, 0
        self.metric.reset()
        self.tell("after_epoch")
        if self.stop and not self.complete:
            raise Stopped

    def end_early(self, column, best, best_epoch, patience):
        """Let this epoch be the last one, and note why: the training is finished, not stopped."""
        self.history.ended_early = {
            "epoch": self.epoch,
            "column": column,
            "best": best,
            "best_epoch": best_epoch,
            "patience": patience,
        }

    @contextlib.contextmanager
    def under_way(self):
        """Tell the callbacks of the start and of every kind of end, and turn an interrupt into a stop."""
        try:
            with self._interrupt_stops(), contextlib.suppress(Stopped):
                self.tell("on_start")
                self.begun = time.perf_counter()
                if not self.complete:
                    self.tell("on_ready")
                yield
        except BaseException as error:
            self.error = error
            if isinstance(error, DivergedError):
                error.where = f"epoch {self.epoch + 1}, batch {self.batch + 1}, learning rate {self.lr:g}"
            raise
        finally:
            self.history.stopped = not self.complete
            self.tell_end()
        if self.history.stopped:
            print(f"Stopped after {self.epoch} of {self.num_epochs} epochs and {self.batch} batches.")
        elif self.history.ended_early:
            print(early_end(self.history.ended_early))

    @contextlib.contextmanager
    def _interrupt_stops(self):
        """Let the first interrupt end the training after the batch under way, and a second one break it off at once."""
        if threading.current_thread() is not threading.main_thread():  # only there can a handler be set
            yield
            return

        def ask_to_stop(*_):
            self.stop = True
            signal.signal(signal.SIGINT, previous)

        previous = signal.signal(signal.SIGINT, ask_to_stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, previous)


def points_every(batches):
    """Return the number of batches between two points of the loss curve, for epochs of so many batches (or None)."""
    if not batches:
        return EVERY
    return min(EVERY, max(1, batches // POINTS))


def early_end(facts):
    """Say why a training ended early, from the facts that its history keeps."""
    return (
        f"Ended early after epoch {facts['epoch']}: {facts['column']} has not improved for {facts['patience']} epochs "
        f"(best: {facts['best']:.4g} after epoch {facts['best_epoch']})."
    )
