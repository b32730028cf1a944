"""Owns the state of a training under way: where it is, whom it tells, how it is stopped. Computes no gradient."""

from __future__ import annotations

import contextlib
import signal
import threading
import time

from utils.errors import DivergedError
from utils.training.history import History

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
    """What is going on in train_ch3. Callbacks are given it, and change it to resume, to stop, or to be measured."""

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
        self.net, self.train_iter, self.test_iter, self.loss = net, train_iter, test_iter, loss
        self.num_epochs, self.optimizer, self.device, self.step = num_epochs, optimizer, device, step
        self.callbacks = tuple(sorted(callbacks, key=lambda callback: getattr(callback, "order", NORMAL)))
        self.watched = watched
        self.history = History(every or min(EVERY, max(1, (self.batches or EVERY * POINTS) // POINTS)))
        self.metric = None  # the sums of the epoch under way: loss, correct predictions, examples
        self.epoch = self.batch = 0  # whole epochs done, and batches of the epoch under way
        self.loader_epoch = None  # the one that the last batch came from, as train_iter counts them
        self.scored = net  # the network that is measured after an epoch; an averaged one may take its place
        self.stop = False  # set it to end the training after the batch under way
        self.error = None  # what broke the training off
        self.earlier, self.begun = 0.0, time.perf_counter()  # seconds of attempts before this one; when it began
        self._listeners = [callback.after_batch for callback in self.callbacks if hasattr(callback, "after_batch")]

    @property
    def batches(self):
        """The number of batches in an epoch, or None if train_iter does not know it."""
        try:
            return len(self.train_iter)
        except TypeError:  # a generator, or a DataLoader over a stream
            return None

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
        """Return what is left to train on: nothing, if the last attempt ended between training and measuring."""
        return () if self.batch and self.batch == self.batches else self.train_iter

    def unless_stopped(self, data_iter):
        """Yield the batches until somebody sets stop."""
        for batch in data_iter:
            if self.stop:
                raise Stopped
            yield batch

    def close_epoch(self, in_training, measured):
        """Write the epoch's row, (loss, accuracy) in training and as measured after it, and begin the next."""
        if self.batch % self.history.every:
            self.history.add_point(self.epoch + 1.0, self.metric, self.lr)
        figures = {"train": in_training} | ({self.watched: measured} if measured else {})
        row = {"epoch": self.epoch + 1}
        for name, (loss, acc) in figures.items():
            row |= {f"{name}_loss": loss, f"{name}_acc": acc}
        self.history.add_row(**row, lr=self.lr, seconds=self.seconds)
        self.epoch, self.batch = self.epoch + 1, 0
        self.metric.reset()
        self.tell("after_epoch")
        if self.stop and self.epoch < self.num_epochs:
            raise Stopped

    @contextlib.contextmanager
    def under_way(self):
        """Tell the callbacks of the start and of every kind of end, and turn an interrupt into a stop."""
        try:
            with self._interrupt_stops(), contextlib.suppress(Stopped):
                self.tell("on_start")
                self.begun = time.perf_counter()
                if self.epoch < self.num_epochs:
                    self.tell("on_ready")
                yield
        except BaseException as error:
            self.error = error
            if isinstance(error, DivergedError):
                error.where = f"epoch {self.epoch + 1}, batch {self.batch + 1}, learning rate {self.lr:g}"
            raise
        finally:
            self.history.stopped = self.epoch < self.num_epochs
            self.tell_end()
        if self.history.stopped:
            print(f"Stopped after {self.epoch} of {self.num_epochs} epochs and {self.batch} batches.")

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
