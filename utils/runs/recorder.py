"""The Recorder, a callback that writes a training's record into its folder. utils/runs/run.py reads the record."""

from __future__ import annotations

import datetime
import functools
import os
import platform
import subprocess
import time
import warnings
from pathlib import Path

import torch

from utils.devices import describe
from utils.errors import CourseworkError, DivergedError, RecordWarning
from utils.files import append_lines, read_json, write_json
from utils.models.count import parameters
from utils.runs.checkpoints import Checkpoints
from utils.runs.claim import Claim
from utils.runs.network_record import FirstImage, describe_network
from utils.runs.run import EVALUATION, FAULTS, METRICS, NETWORK, RECORD, Run, safe, trainings
from utils.runs.same_training import settings_of
from utils.training.callbacks import as_callbacks
from utils.training.state import FIRST

ROOT = Path(__file__).resolve().parents[2]
SAVE_EVERY = 60.0  # seconds between two checkpoints of a training without a recipe
POINTS_EVERY = 10.0  # seconds between two writes of the loss during an epoch; reading the loss must wait for the GPU


def with_recorder(callbacks, record):
    """Return the callbacks and a Recorder; if record is a name, also Checkpoints in the folder of this name."""
    callbacks = as_callbacks(callbacks)
    where = f"record={record!r}"
    if not isinstance(record, (bool, str)):
        what = f"record must be True, False or a name, but is an object of type {type(record).__name__}."
        raise CourseworkError(what, where=where, next_step='For example: record="my first net".')
    if any(isinstance(callback, Recorder) for callback in callbacks):
        if isinstance(record, str):
            what = "This training has two names: one in the Recorder in callbacks, the other in the argument record."
            raise CourseworkError(what, where=where, next_step="Remove one of them.")
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
    continues.
    """

    order = FIRST  # called first at each event, but last at on_end, because on_end is called in reverse order

    def __init__(self, folder=None, name="training", facts=None):
        self.folder = Path(folder) if folder else None
        self.name = name
        self.facts = facts or {}
        self.unwritten = None  # the message of the last error in writing
        self._claim = None
        self._record = {}
        self._attempt = None  # the record's entry of this attempt
        self._state = None  # the state that run.json had before this attempt
        self._is_new = True
        self._begun = False
        self._micro_batch = None
        self._first_image = None  # until network.json is written
        self._problems = {}  # the problems that have been written as faults, {kind: message}
        self._points = 0  # how many points of the loss curve have been written
        self._due = 0.0

    def on_start(self, training):
        """Claim the folder, and write the part of the record that is known before the first batch."""
        self._claim = None
        self._begun = False
        self._attempt = None
        self._micro_batch = getattr(training.step, "micro_batch", None)
        with self._or_warn():
            self.folder = self.folder or _folder_of(training) or new_folder(self.name)
            self.folder.mkdir(parents=True, exist_ok=True)
            claim = Claim(self.folder)
            claim.take()
            self._claim = claim
            for partial in self.folder.glob("*.json.*.partial"):
                partial.unlink(missing_ok=True)
            before = read_json(self.folder / RECORD)
            self._is_new = before is None
            before = before or {}
            self._record = self._describe(training, before)
            self._state = before.get("state")
            if self._is_new:  # an older record is not replaced before the checkpoint shows that it is the same training
                write_json(self.folder / RECORD, self._record)

    def _describe(self, training, before):
        earlier = {name: before[name] for name in ("created", "attempts", "tests", "earlier_tests") if name in before}
        record = {"format": 1, "run": self.folder.name, "system": self.name, "created": now(), "state": "running"}
        return record | facts_of(training) | self.facts | {"attempts": []} | earlier

    def on_ready(self, training):
        """Record the attempt and its position; a resumed training is back at the epoch and batch where it stopped."""
        if self._claim is None:
            return
        self._begun = True
        self._first_image = FirstImage(training.net)
        position = [training.epoch, training.batch]
        with self._or_warn():
            if position == [0, 0]:
                self._set_tests_aside()
            self._attempt = {"begun": now(), "host": platform.node(), "pid": os.getpid(), "from": position}
            self._record |= {"attempts": [*self._record["attempts"], self._attempt], "state": "running"}
            self._catch_up(training)
            write_json(self.folder / RECORD, self._record)

    def _set_tests_aside(self):
        """Move the test results of an earlier training in this folder to `earlier_tests`, apart from the new ones."""
        if tests := self._record.pop("tests", None):
            self._record["earlier_tests"] = [*self._record.get("earlier_tests", ()), *tests]
        evaluation = self.folder / EVALUATION
        if evaluation.exists():
            evaluation.replace(evaluation.with_suffix(".old"))

    def after_batch(self, training):
        """Record faults, and every few seconds the newest points of the loss curve."""
        if self._claim is None:
            return
        if self._claim.lost:
            self._claim = None
            raise CourseworkError(
                "Another process is now training in this folder; this one was paused for too long.",
                where=self.folder,
                next_step="Let the other process finish, or stop it and train again: the training resumes.",
            )
        if self._first_image is not None:
            self._write_network(training)
        self._record_problems(training)
        if time.monotonic() >= self._due:
            self._write(training)

    def _write_network(self, training):
        """Write network.json after the first batch, when the shape of the images is known."""
        image = self._first_image.image
        self._first_image.remove()
        self._first_image = None
        recipe = self.facts.get("recipe") or {}
        network = describe_network(training.net, image, recipe.get("network"), recipe.get("network_settings"))
        with self._or_warn():
            write_json(self.folder / NETWORK, network)

    def after_epoch(self, training):
        """Write the epoch's row."""
        if self._claim is not None:
            self._write(training, training.history.rows[-1])

    def on_end(self, training):
        """Record how the training ended and release the folder.

        If on_start raised an error, because the folder contains another training, its record is not changed.
        """
        if self._claim is None:
            return
        if self._first_image is not None:  # there was no batch
            self._first_image.remove()
        # The earlier attempt did all epochs but was killed before it could write "finished".
        killed_at_the_end = training.error is None and self._state != "finished" and not self._begun
        if self._begun or self._is_new or killed_at_the_end:
            with self._or_warn():
                self._close(training)
        self._claim.release()

    def _close(self, training):
        state = how_it_ended(training)
        if training.error is not None:
            self._note_error(training, state)
        if self._attempt is not None:
            self._write(training)
            self._attempt |= {"ended": now(), "how": state, "at": [training.epoch, training.batch]}
        else:
            self._catch_up(training)
            last = self._record["attempts"][-1] if self._record["attempts"] else None
            if last is not None and last.get("how") is None:
                last |= {"ended": now(), "how": state}
        self._record_problems(training)
        self._record |= {"state": state, "seconds": training.seconds}
        if training.history.ended_early:
            self._record["ended_early"] = training.history.ended_early
        write_json(self.folder / RECORD, self._record)

    def _catch_up(self, training):
        """Write the position at which this attempt starts, and the rows that killed attempts could not write."""
        self._due = time.monotonic() + POINTS_EVERY
        epochs_done = training.epoch + training.batch / (training.batches or training.batch or 1)
        known = Run(self.folder).history()
        written = {row["epoch"] for row in known.rows}
        missing = [row for row in training.history.rows if row["epoch"] not in written]
        attempt = {"attempt": len(self._record["attempts"]), "from": [training.epoch, epochs_done]}
        append_lines(self.folder / METRICS, [attempt, *missing])
        self._points = sum(point["epoch"] <= epochs_done for point in known.points)
        self._write(training)

    def _write(self, training, *rows):
        """Append these rows and the points that have not been written yet."""
        self._due = time.monotonic() + POINTS_EVERY
        points = training.history.points[self._points :]
        lines = [{"point": [point["epoch"], point["loss"], point["lr"]]} for point in points]
        with self._or_warn():
            if lines or rows:
                append_lines(self.folder / METRICS, [*lines, *rows])
            self._points += len(points)

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
        batch = {"rows": _rows(training)} if isinstance(error, DivergedError) and not error.is_late else {}
        self.note_fault(kind, what, training, **batch)

    def note_fault(self, kind, what, training, **more):
        """Append a line to the run's faults: the time, the kind of fault, its description, the epoch and the batch."""
        position = {"epoch": training.epoch + 1, "batch": training.batch + 1}
        with self._or_warn():
            append_lines(self.folder / FAULTS, [{"when": now(), "kind": kind, "what": what} | position | more])

    def _or_warn(self):
        return _Warning(self)


class _Warning:
    """Turn an OSError inside a with block into a warning, once for each message: the training continues without it."""

    def __init__(self, recorder):
        self.recorder = recorder

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if not isinstance(error, OSError):
            return False
        if str(error) != self.recorder.unwritten:
            self.recorder.unwritten = str(error)
            next_step = "free some disk space or repair the folder. The training continues; its record has a gap."
            where = self.recorder.folder or trainings()
            what = f"The run log could not be written: {error}\n  where: {where}\n  next:  {next_step}"
            warnings.warn(what, RecordWarning, stacklevel=4)
        return True


def note_test(folder: Path, accuracy: float, loss: float | None, views: str = "plain"):
    """Add a measurement on the test images to a run's record; `measure_test_accuracy` calls this for each of them.

    views is "plain" for one prediction per image, else the name of the entry of VIEWS (in evaluation/robustness.py)
    that was used for test-time augmentation.
    """
    record = read_json(folder / RECORD)
    if record is not None:
        test = {"when": now(), "accuracy": accuracy, "views": views, "loss": loss}
        write_json(folder / RECORD, record | {"tests": [*record.get("tests", ()), test]})


def how_it_ended(training):
    """Return how a training ended: "finished", "stopped" (by its user), "diverged" or "failed"."""
    if isinstance(training.error, DivergedError):
        return "diverged"
    if isinstance(training.error, KeyboardInterrupt):
        return "stopped"
    if training.error is not None:
        return "failed"
    return "finished" if training.complete else "stopped"


def facts_of(training):
    """Return the entries that every training's record has: images, network, settings, machine, the suite's version."""
    split = getattr(training.train_iter, "split", None) or getattr(training.train_iter, "dataset", None)
    origin = getattr(split, "origin", None)
    classes = getattr(split, "classes", None)
    loader = training.train_iter.describe() if hasattr(training.train_iter, "describe") else {}
    return {
        "settings": settings_of(training),
        "data": dict(origin) if origin else None,
        "images": len(split) if hasattr(split, "__len__") else None,
        "classes": list(classes) if classes is not None else None,
        "mean": loader.get("mean"),
        "std": loader.get("std"),
        "watched": training.watched,
        "num_epochs": training.num_epochs,
        "batches": training.batches,
        "parameters": parameters(training.net),
        "device": describe(training.device),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "git": git_state(),
    }


@functools.lru_cache(maxsize=1)
def git_state():
    """Return the suite's commit, and whether its files were changed since; None without git."""

    def ask(*arguments):
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=10)
        return done.stdout.strip() if done.returncode == 0 else None

    try:
        commit, changes = ask("rev-parse", "--short=10", "HEAD"), ask("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {"commit": commit, "changed": bool(changes)} if commit and (ROOT / ".git").exists() else None


def new_folder(name, parent=None):
    """Make a new folder, named after the run and the time, with a number if two runs start in the same second."""
    stem = f"{safe(name)}-{time.strftime('%Y%m%d-%H%M%S')}"
    for number in range(1, 10_000):
        folder = (parent or trainings()) / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
    raise FileExistsError(f"10,000 runs of {stem}")


def now():
    """Return the time as text: UTC, to the second."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def _folder_of(training):
    return next((callback.folder for callback in training.callbacks if isinstance(callback, Checkpoints)), None)


def _rows(training):
    """Return the rows of the loader's split that are in the current batch, or None if the loader has no `indices`."""
    indices = getattr(training.train_iter, "indices", None)
    if indices is None or training.batches is None or training.batch >= training.batches:
        return None
    return indices(training.train_iter.epoch, training.batch).tolist()
