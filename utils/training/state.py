"""The state of a running training: its position and its callbacks; and how it is stopped."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
import traceback
import warnings

from utils.errors import DivergedError, check_count
from utils.training.callbacks import Metric, as_callbacks
from utils.training.checked_batches import check_batches
from utils.training.checks import check_training, check_watched
from utils.training.finite import check_finite, check_measured
from utils.training.history import History
from utils.training.measure import place

# Values of a callback's attribute `order`: at each event, lower ones are called first, equal ones in the list's order.
FIRST = -2  # the Recorder, which claims the run's folder before another callback uses it
EARLY = -1  # callbacks that read the folder after it was claimed
NORMAL = 0  # callbacks without the attribute `order`
SAVING = 1  # Checkpoints, which save the state that the other callbacks have after the same batch
LAST = 2  # callbacks that show the result, such as the curves

EVERY, POINTS = 50, 10  # a point of the loss every 50 batches, or more often if an epoch would have under 10 points


class Stopped(Exception):
    """Raised to leave the training loop between two batches; `Training.under_way` catches it."""


class Training:
    """The state of a training in train_ch3. Callbacks get this object, to read the state, restore it, or stop."""

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
        check_training(net, loss, optimizer, step)
        check_watched(watched, test_iter)
        self.num_epochs = check_count("num_epochs", num_epochs, 1)
        check_batches(train_iter, "train_iter", self.num_epochs, mixed=True)
        if test_iter is not None:
            check_batches(test_iter, "test_iter", self.num_epochs)
        self.train_iter = train_iter
        self.test_iter = test_iter
        self.net = net
        self.loss = loss
        self.optimizer = optimizer
        self.step = step
        self.watched = watched
        callbacks = as_callbacks(callbacks)
        self.metrics = [callback for callback in callbacks if isinstance(callback, Metric)]
        self.callbacks = tuple(sorted(callbacks, key=lambda callback: getattr(callback, "order", NORMAL)))
        self.history = History(points_every(self.batches) if every is None else check_count("every", every, 1))
        self.metric = None  # the sums of the current epoch: loss, correct predictions, examples
        self.epoch = 0  # number of complete epochs
        self.batch = 0  # number of batches done in the current epoch
        self.loader_epoch = None  # train_iter.epoch at the last batch
        self.measured_net = net  # the network that is measured after each epoch; Average puts its own network here
        self.stop = False  # set it to True to end the training after the current batch
        self.error = None  # the exception that ended the training
        self.earlier = 0.0  # seconds of all earlier attempts
        self.begun = time.perf_counter()
        self._listeners = [callback.after_batch for callback in self.callbacks if hasattr(callback, "after_batch")]
        self.tell("check")
        self.device = place(net, device)

    @property
    def batches(self):
        """The number of batches in an epoch, or None if train_iter has no length."""
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
        """Whether the training is complete: all epochs are done, or a callback has ended it early."""
        return self.epoch >= self.num_epochs or self.history.ended_early is not None

    @property
    def lr(self):
        """The current learning rate of the first parameter group."""
        return float(self.optimizer.param_groups[0]["lr"])

    @property
    def seconds(self):
        """The duration of this training, the sum over all attempts."""
        return self.earlier + time.perf_counter() - self.begun

    def tell(self, event):
        """Call this method of every callback that has it."""
        for callback in self.callbacks:
            if hasattr(callback, event):
                getattr(callback, event)(self)

    def tell_end(self):
        """Call on_end of all callbacks in reverse order; an error in one of them is only a warning."""
        interrupt = None
        for callback in reversed(self.callbacks):
            try:
                if hasattr(callback, "on_end"):
                    callback.on_end(self)
            except Exception as error:
                warn_of_end(callback, error)
            except BaseException as error:  # the second interrupt (Ctrl+C)
                interrupt = error
        if interrupt is not None:
            raise interrupt

    def after_batch(self, metric):
        """Count the batch, add a point of the loss curve every few batches, and call the callbacks' after_batch.

        If train_iter has no length, the batch's position in the epoch is unknown, and only the epoch's end is a point.
        """
        self.batch, self.loader_epoch = self.batch + 1, getattr(self.train_iter, "epoch", None)
        if self.batch % self.history.every == 0 and self.batches:
            self.history.add_point(self.epoch + self.batch / self.batches, metric, self.lr)
        for listener in self._listeners:
            listener(self)
        if self.stop:
            raise Stopped

    def rest_of_epoch(self):
        """Return the epoch's remaining batches; none if the last attempt ended between training and measuring."""
        if self.batch and self.batch == self.batches:
            return ()
        return self.train_iter

    def watched_batches(self):
        """Yield the batches to measure on, until `stop` is set."""
        for metric in self.metrics:
            metric.begin(self.device)
        for batch in self.test_iter:
            if self.stop:
                raise Stopped
            yield batch

    def close_epoch(self, in_training, measured):
        """Add the epoch's row, from (loss, accuracy) in training and on the watched images; start the next epoch."""
        check_finite(self)
        if measured is not None:
            check_measured(measured[0], self)
        if self.batch % self.history.every or not self.batches:
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
        self.tell("record_epoch")  # of the Recorder: it writes the row with what other callbacks have added to it
        if self.stop and not self.complete:
            raise Stopped

    @contextlib.contextmanager
    def under_way(self):
        """Call on_start, on_ready and on_end of the callbacks, and turn an interrupt (Ctrl+C) into a stop."""
        with self._interrupt_stops():  # until the end, so that an interrupt does not cut off the last checkpoint
            try:
                with contextlib.suppress(Stopped):
                    self.tell("on_start")
                    self.begun = time.perf_counter()
                    if not self.complete:
                        self.tell("on_ready")
                    yield
                check_finite(self)  # the loop may have been left in the middle of an epoch
            except BaseException as error:
                self.error = error
                if isinstance(error, DivergedError) and not error.is_late:
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
        """On the first interrupt (Ctrl+C), end the training after the current batch; on the second one, immediately."""
        if threading.current_thread() is not threading.main_thread():  # a handler can only be set in the main thread
            yield
            return

        def ask_to_stop(*_):
            self.stop = True
            signal.signal(signal.SIGINT, previous)

        previous = signal.signal(signal.SIGINT, ask_to_stop) or signal.SIG_DFL  # None: the handler is not Python's
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, previous)


def warn_of_end(callback, error):
    """Warn that a callback has failed after the training: an exception would take the training's result with it."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    warnings.warn(
        f"on_end of the callback {type(callback).__name__} has failed: {type(error).__name__}: {error}\n"
        f"  where: {last.filename}, line {last.lineno}\n"
        "  next:  The result of the training is returned all the same. Correct the callback before the next training.",
        stacklevel=4,
    )


def points_every(batches):
    """Return the number of batches between two points of the loss curve; batches are those of an epoch, or None."""
    if not batches:
        return EVERY
    return min(EVERY, max(1, batches // POINTS))


def early_end(facts):
    """Return a sentence with the reason why a training ended early; facts is the history's ended_early."""
    if "pruned_by" in facts:
        return f"Pruned after epoch {facts['epoch']} by {facts['pruned_by']}: other trials were better at this epoch."
    return (
        f"Ended early after epoch {facts['epoch']}: {facts['column']} has not improved for {facts['patience']} epochs "
        f"(best: {facts['best']:.4g} after epoch {facts['best_epoch']})."
    )
