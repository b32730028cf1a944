"""The Recorder, a callback that writes a training's record into its folder. utils/runs/run.py reads the record."""

from __future__ import annotations

import contextlib
import os
import platform
import time
import warnings
from pathlib import Path

import torch

from utils.errors import CourseworkError, RecordWarning
from utils.files import append_lines, read_json, write_json
from utils.runs.checkpoints import Checkpoints
from utils.runs.claim import Claim
from utils.runs.network_record import FirstImage, describe_network
from utils.runs.run import EVALUATION, FAULTS, METRICS, NETWORK, RECORD, Run, safe, trainings
from utils.runs.training_facts import facts_of, how_it_ended, new_folder, now
from utils.training.callbacks import as_callbacks
from utils.training.state import FIRST

SAVE_EVERY = 60.0  # seconds between two checkpoints of a training without a recipe
POINTS_EVERY = 10.0  # seconds between two writes of the loss during an epoch; reading the loss must wait for the GPU


def with_recorder(callbacks, record):
    """Return the callbacks and a Recorder; if record is a name, also Checkpoints in the folder of this name."""
    callbacks = as_callbacks(callbacks)
    if not isinstance(record, (bool, str)):
        what = f"record must be True, False or a name, but is an object of type {type(record).__name__}."
        raise CourseworkError(what, where=f"record={record!r}", next_step='For example: record="my first net".')
    if any(isinstance(callback, Recorder) for callback in callbacks):
        return callbacks
    if record is True:
        return [Recorder(), *callbacks]
    if any(isinstance(callback, Checkpoints) for callback in callbacks):
        return [Recorder(name=record), *callbacks]  # it uses the folder of those Checkpoints
    folder = trainings() / safe(record)
    advice = f'Choose another name, such as record="{record} 2", or remove the folder if its training is not needed.'
    checkpoints = Checkpoints(folder, every=SAVE_EVERY, about={"record": record}, advice=advice)
    return [Recorder(folder, record), *callbacks, checkpoints]


class Recorder:
    """A callback that writes a training's record; train_ch3 adds a Recorder if callbacks contains none.

    folder: the run's folder; by default that of the Checkpoints, or a new one named after `name` and the time. facts:
    entries of the record that the Training object does not contain, such as recipe, seed and effort. If another process
    is using the folder, an error is raised. If the folder can't be written, you get a warning and the training
    continues; what could not be written is written again later.
    """

    order = FIRST  # called first at each event, but last at on_end, because on_end is called in reverse order

    def __init__(self, folder=None, name="training", facts=None):
        self.folder = Path(folder) if folder else None
        self.name = name
        self.facts = facts or {}
        self.unwritten = None  # the message of the last error in writing
        self._claim = None

    def on_start(self, training):
        """Claim the folder, and write the part of the record that is known before the first batch."""
        self._claim = None
        self._attempt = None  # the record's entry of this attempt
        self._is_recorded = False  # whether run.json contains the present record
        self._network = None  # the content of network.json
        self._first_image = None  # until the first batch
        self._problems = {}  # the problems that have been written as faults, {kind: message}
        self._micro_batch = getattr(training.step, "micro_batch", None)
        self._state = None  # the recorded state before this attempt; None in a new folder
        with self._or_warn():
            self.folder = self.folder or _folder_of(training) or new_folder(self.name)
            self.folder.mkdir(parents=True, exist_ok=True)
            self._claim = Claim(self.folder).take()
            before = read_json(self.folder / RECORD)
            self._record = self._describe(training, before or {})
            # An older record is not replaced before the checkpoint shows that it is the same training.
            if before is None:
                self._write_record()
            else:
                self._state = Run(self.folder).recorded_state
            for partial in self.folder.glob("*.json.*.partial"):
                partial.unlink(missing_ok=True)

    def _describe(self, training, before):
        earlier = {name: before[name] for name in ("created", "attempts", "tests") if name in before}
        record = {"format": 1, "run": self.folder.name, "system": self.name, "created": now(), "state": "running"}
        return record | facts_of(training) | self.facts | {"attempts": []} | earlier

    def on_ready(self, training):
        """Record the attempt and its position; a resumed training is back at the epoch and batch where it stopped."""
        if self._claim is None:
            return
        self._first_image = FirstImage(training.net)
        position = [training.epoch, training.batch]
        self._attempt = {"begun": now(), "host": platform.node(), "pid": os.getpid(), "from": position}
        if processes := getattr(training.step, "processes", None):  # of a training that several processes share
            self._attempt["processes"] = processes
        self._record |= {"attempts": [*self._record["attempts"], self._attempt], "state": "running"}
        self._is_recorded = False
        if position == [0, 0]:  # an earlier network in this folder was tested, and its checkpoints were removed
            self._record.pop("tests", None)
            with self._or_warn():
                (self.folder / EVALUATION).unlink(missing_ok=True)
        self._compare(training)
        self._write(training)

    def after_batch(self, training):
        """Record faults, and every few seconds the newest points of the loss curve."""
        if self._claim is None:
            return
        self._claim.require()
        if self._first_image is not None:
            self._write_network(training)
        self._record_problems(training)
        if time.monotonic() >= self._due:
            self._write(training)

    def _write_network(self, training):
        """Write network.json after the first batch, when the shape of the images is known."""
        image = self._first_image.image
        whole = getattr(getattr(training.train_iter, "split", None), "images", None)
        if isinstance(whole, torch.Tensor) and image is not None:  # augmentation may shrink the first batches
            image = image.new_zeros(1, *whole.shape[1:])
        self._first_image.remove()
        self._first_image = None
        recipe = self.facts.get("recipe") or {}
        self._network = describe_network(training.net, image, recipe.get("network"), recipe.get("network_settings"))
        with self._or_warn():
            write_json(self.folder / NETWORK, self._network)

    def after_epoch(self, training):
        """Make sure that no other process has claimed the folder, before any callback writes into it."""
        if self._claim is not None:
            self._claim.require()

    def record_epoch(self, training):
        """Write the epoch's row."""
        if self._claim is not None:
            self._write(training)

    def on_end(self, training):
        """Record how the training ended and release the folder.

        If on_start raised an error, because the folder contains another training, its record is not changed.
        """
        if self._claim is None:
            return
        if self._first_image is not None:  # there was no batch
            self._first_image.remove()
        # The earlier attempt did all epochs but was killed, or the disk was full, before it could write "finished".
        ended_before = training.error is None and self._state != "finished"
        try:
            if not self._claim.lost and (self._attempt or self._state is None or ended_before):
                self._close(training)
        finally:
            self._claim.release()

    def _close(self, training):
        state = how_it_ended(training)
        if training.error is not None:
            self._note_error(training, state)
        if self._attempt is None:
            self._compare(training)
        self._write(training)
        self._record_problems(training)
        if state == "finished" and (reason := self._missing(training)):
            state = "unsaved"
            if reason != self._problems.get(state):
                self.note_fault(state, reason, training)
        attempt = self._attempt or next(reversed(self._record["attempts"]), {})
        attempt["at"] = [training.epoch, training.batch]
        if attempt.get("how") is None:
            attempt |= {"ended": now(), "how": state}
        self._record |= {"state": state, "seconds": training.seconds}
        if training.history.ended_early:
            self._record["ended_early"] = training.history.ended_early
        with self._or_warn():
            self._write_record()

    def _missing(self, training):
        """Return which part of a complete training is not on the disk, as a sentence, or None if nothing is missing."""
        for callback in training.callbacks:
            if isinstance(callback, Checkpoints) and not callback.is_saved(training):
                return callback.unsaved or "The checkpoint of the end was not written."
        if any(row["epoch"] not in self._rows for row in training.history.rows):
            return f"The last rows of the history could not be written: {self.unwritten}"
        return None

    def _compare(self, training):
        """Find out what a killed attempt has written, so that the next write adds this attempt's start and the rest."""
        epochs_done = training.epoch + training.batch / (training.batches or training.batch or 1)
        self._start = [{"attempt": len(self._record["attempts"]), "from": [training.epoch, epochs_done]}]
        self._rows, self._points = set(), set()  # the epochs of those in the file
        with self._or_warn():
            known = Run(self.folder).history()
            self._rows = {row["epoch"] for row in known.rows if row["epoch"] <= training.epoch}
            self._points = {point["epoch"] for point in known.points if point["epoch"] <= epochs_done}

    def _write(self, training):
        """Write what the folder lacks: the record, where this attempt started, and the newest rows and points."""
        self._due = time.monotonic() + POINTS_EVERY
        with self._or_warn():
            self._restore(training)
            if not self._is_recorded:
                self._write_record()
            points = [point for point in training.history.points if point["epoch"] not in self._points]
            rows = [row for row in training.history.rows if row["epoch"] not in self._rows]
            lines = [{"point": [point["epoch"], point["loss"], point["lr"]]} for point in points]
            if self._start or lines or rows:
                append_lines(self.folder / METRICS, [*self._start, *lines, *rows])
            self._start = []
            self._points |= {point["epoch"] for point in points}
            self._rows |= {row["epoch"] for row in rows}

    def _write_record(self):
        write_json(self.folder / RECORD, self._record)
        self._is_recorded = True

    def _restore(self, training):
        """If the folder was deleted, or emptied, during the training, report it and write the whole record again."""
        if not self._is_recorded or (self.folder / RECORD).exists():
            return
        what = "The folder of this run was deleted during the training."
        self._warn(what, "The record is written again, but older checkpoints and results of tests are lost.")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._claim.keep()
        self._is_recorded = False
        self._compare(training)
        self.note_fault("deleted", what, training)
        if self._network is not None:
            write_json(self.folder / NETWORK, self._network)

    def _record_problems(self, training):
        """Record as a fault that memory ran out, or that a checkpoint could not be written."""
        size = getattr(training.step, "micro_batch", None)
        problems = {"memory": None, "unsaved": None}
        if size != self._micro_batch:
            problems["memory"] = f"Not enough memory: each batch is now computed in parts of {size} images."
        for callback in training.callbacks:
            if isinstance(callback, Checkpoints):
                problems["unsaved"] = callback.unsaved
        for kind, what in problems.items():
            if what and what != self._problems.get(kind):
                self.note_fault(kind, what, training)
        if problems != self._problems:
            self._problems = problems
            self._record["unsaved"] = problems["unsaved"]

    def _note_error(self, training, kind):
        error = training.error
        what = getattr(error, "what", None) or f"{type(error).__name__}: {error}"
        self.note_fault(kind, what, training)

    def note_fault(self, kind, what, training):
        """Append a line to the run's faults: the time, the kind of fault, its description, the epoch and the batch."""
        position = {"epoch": training.epoch + 1, "batch": training.batch + 1}
        with self._or_warn():
            append_lines(self.folder / FAULTS, [{"when": now(), "kind": kind, "what": what} | position])

    @contextlib.contextmanager
    def _or_warn(self):
        """Turn an OSError into a warning, once for each message: the training continues without a complete record."""
        try:
            yield
        except OSError as error:
            if str(error) != self.unwritten:
                self.unwritten = str(error)
                next_step = "free some disk space or repair the folder. The training continues and will try again."
                self._warn(f"The run log could not be written: {error}", next_step)

    def _warn(self, what, next_step):
        message = f"{what}\n  where: {self.folder or trainings()}\n  next:  {next_step}"
        warnings.warn(message, RecordWarning, stacklevel=2)


def note_test(folder: Path, accuracy: float, loss: float | None, views: str = "plain"):
    """Add a measurement on the test images to a run's record; `measure_test_accuracy` calls this for each of them.

    views is "plain" for one prediction per image, else the name of the entry of VIEWS (in evaluation/robustness.py)
    that was used for test-time augmentation.
    """
    record = read_json(folder / RECORD)
    if record is not None:
        test = {"when": now(), "accuracy": accuracy, "views": views, "loss": loss}
        write_json(folder / RECORD, record | {"tests": [*record.get("tests", ()), test]})


def _folder_of(training):
    return next((callback.folder for callback in training.callbacks if isinstance(callback, Checkpoints)), None)
