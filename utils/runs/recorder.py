"""The run log's writer: a callback that keeps a training's record in its folder. utils/runs/run.py reads it."""

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
SAVE_EVERY = 60.0  # seconds between two checkpoints of a training by hand
POINTS_EVERY = 10.0  # seconds between two looks at the loss in mid-epoch: on a GPU, looking waits for it


def recorded(callbacks, record):
    """Return the callbacks with a Recorder, and with Checkpoints in the folder of that name where record is a name."""
    callbacks = as_callbacks(callbacks)
    where = f"record={record!r}"
    if not isinstance(record, (bool, str)):
        what = f"record must be True, False or a name, but is an object of type {type(record).__name__}."
        raise CourseworkError(what, where=where, next_step='Write record="my first net", say.')
    if any(isinstance(callback, Recorder) for callback in callbacks):
        if isinstance(record, str):
            what = "This training has two names: callbacks holds a Recorder, and record names another one."
            raise CourseworkError(what, where=where, next_step="Leave one of them out.")
        return callbacks
    if record is True:
        return [Recorder(), *callbacks]
    if any(isinstance(callback, Checkpoints) for callback in callbacks):
        return [Recorder(name=record), *callbacks]  # in the folder of those checkpoints
    folder = trainings() / safe(record)
    advice = f'Choose another name, such as record="{record} 2", or remove the folder if nobody needs its training.'
    checkpoints = Checkpoints(folder, every=SAVE_EVERY, about={"record": record}, advice=advice)
    return [Recorder(folder, record), *callbacks, checkpoints]


class Recorder:
    """A callback that writes a training's record; train_ch3 adds one unless there is one.

    folder: the run's folder; by default that of the Checkpoints, or a new one called `name` and the time. facts: what
    the training can't know about itself, such as recipe, seed and effort. A folder in which another process trains is
    refused; a folder that can't be written costs a warning, not the training.
    """

    order = FIRST  # at the end it is the last, as that event is told in reverse order

    def __init__(self, folder=None, name="training", facts=None):
        self.folder = Path(folder) if folder else None
        self.name = name
        self.facts = facts or {}
        self.unwritten = None  # why something could not be written
        self._claim = None
        self._record = {}
        self._attempt = None  # the entry of the attempt under way
        self._state = None  # the one in the record of the attempt before
        self._is_new = True
        self._begun = False
        self._micro_batch = None
        self._first_image = None  # until network.json is written
        self._trouble = {}  # what has been noted as a fault
        self._points = 0  # points of the loss curve that are written
        self._due = 0.0

    def on_start(self, training):
        """Take the folder, and write what is known before the first batch."""
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
            if self._is_new:  # the record of an older attempt stays until this is known to be the same training
                write_json(self.folder / RECORD, self._record)

    def _describe(self, training, before):
        kept = {name: before[name] for name in ("created", "attempts", "tests", "earlier_tests") if name in before}
        record = {"format": 1, "run": self.folder.name, "system": self.name, "created": now(), "state": "running"}
        return record | facts_of(training) | self.facts | {"attempts": []} | kept

    def on_ready(self, training):
        """Note the attempt and where it starts, now that a resumed training is where it was."""
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
        """Keep the tests of a network trained here before apart from those of the one that starts now."""
        if tests := self._record.pop("tests", None):
            self._record["earlier_tests"] = [*self._record.get("earlier_tests", ()), *tests]
        evaluation = self.folder / EVALUATION
        if evaluation.exists():
            evaluation.replace(evaluation.with_suffix(".old"))

    def after_batch(self, training):
        """Note faults, and every few seconds the newest points of the loss curve."""
        if self._claim is None:
            return
        if self._claim.lost:
            self._claim = None
            raise RuntimeError(f"Another process has taken over this run while this one slept: {self.folder}")
        if self._first_image is not None:
            self._write_network(training)
        self._note_trouble(training)
        if time.monotonic() >= self._due:
            self._write(training)

    def _write_network(self, training):
        """Write what the network is, once its first batch has shown the shape of its images."""
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
        """Write how it ended and release the folder; a refused training leaves another one's record untouched."""
        if self._claim is None:
            return
        if self._first_image is not None:  # no batch came
            self._first_image.remove()
        killed_at_the_end = training.error is None and self._state != "finished" and not self._begun
        if self._begun or self._is_new or killed_at_the_end:
            with self._or_warn():
                self._close(training)
        self._claim.release()

    def _close(self, training):
        how = ending(training)
        if training.error is not None:
            self._note_error(training, how)
        if self._attempt is not None:
            self._write(training)
            self._attempt |= {"ended": now(), "how": how, "at": [training.epoch, training.batch]}
        else:
            self._catch_up(training)
            last = self._record["attempts"][-1] if self._record["attempts"] else None
            if last is not None and last.get("how") is None:
                last |= {"ended": now(), "how": how}
        self._note_trouble(training)
        self._record |= {"state": how, "seconds": training.seconds}
        if training.history.ended_early:
            self._record["ended_early"] = training.history.ended_early
        write_json(self.folder / RECORD, self._record)

    def _catch_up(self, training):
        """Write where this attempt starts, and the rows that killed attempts had no time to write."""
        self._due = time.monotonic() + POINTS_EVERY
        position = training.epoch + training.batch / (training.batches or training.batch or 1)
        known = Run(self.folder).history()
        written = {row["epoch"] for row in known.rows}
        missing = [row for row in training.history.rows if row["epoch"] not in written]
        attempt = {"attempt": len(self._record["attempts"]), "from": [training.epoch, position]}
        append_lines(self.folder / METRICS, [attempt, *missing])
        self._points = sum(point["epoch"] <= position for point in known.points)
        self._write(training)

    def _write(self, training, *rows):
        """Append the points since the last time, and these rows."""
        self._due = time.monotonic() + POINTS_EVERY
        points = training.history.points[self._points :]
        lines = [{"point": [point["epoch"], point["loss"], point["lr"]]} for point in points]
        with self._or_warn():
            if lines or rows:
                append_lines(self.folder / METRICS, [*lines, *rows])
            self._points += len(points)

    def _note_trouble(self, training):
        """Note that memory ran out, or that a checkpoint could not be written."""
        size = getattr(training.step, "micro_batch", None)
        trouble = {"memory": None, "unsaved": None}
        if size != self._micro_batch:
            trouble["memory"] = f"Memory ran out: {size} images at a time."
        for callback in training.callbacks:
            if isinstance(callback, Checkpoints):
                trouble["unsaved"] = callback.unsaved
        for kind, what in trouble.items():
            if what and what != self._trouble.get(kind):
                self.note_fault(kind, what, training)
        if trouble != self._trouble:
            self._trouble = trouble
            self._record["unsaved"] = trouble["unsaved"]

    def _note_error(self, training, kind):
        error = training.error
        what = getattr(error, "what", None) or f"{type(error).__name__}: {error}"
        batch = {"rows": _rows(training)} if isinstance(error, DivergedError) else {}
        self.note_fault(kind, what, training, **batch)

    def note_fault(self, kind, what, training, **more):
        """Append a line to the run's faults: when, where in the training, what."""
        place = {"epoch": training.epoch + 1, "batch": training.batch + 1}
        with self._or_warn():
            append_lines(self.folder / FAULTS, [{"when": now(), "kind": kind, "what": what} | place | more])

    def _or_warn(self):
        return _Warning(self)


class _Warning:
    """Turn an OSError inside a with block into a warning, once for each message: the training needs no record."""

    def __init__(self, recorder):
        self.recorder = recorder

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if not isinstance(error, OSError):
            return False
        if str(error) != self.recorder.unwritten:
            self.recorder.unwritten = str(error)
            next_step = "make room or repair the folder. The training continues; what could not be written is missing."
            where = self.recorder.folder or trainings()
            what = f"The run log could not be written: {error}\n  where: {where}\n  next:  {next_step}"
            warnings.warn(what, RecordWarning, stacklevel=4)
        return True


def note_test(folder: Path, accuracy: float, loss: float | None, views: str = "plain"):
    """Add a measurement on the test images to a run's record.

    views is "plain" for one prediction per image, else the name of the views that test-time augmentation averages over.
    """
    record = read_json(folder / RECORD)
    if record is not None:
        test = {"when": now(), "accuracy": accuracy, "views": views, "loss": loss}
        write_json(folder / RECORD, record | {"tests": [*record.get("tests", ()), test]})


def ending(training):
    """Name how a training ended: finished, stopped (by its user), diverged or failed."""
    if isinstance(training.error, DivergedError):
        return "diverged"
    if isinstance(training.error, KeyboardInterrupt):
        return "stopped"
    if training.error is not None:
        return "failed"
    return "finished" if training.complete else "stopped"


def facts_of(training):
    """Return what any training's record holds: its images, network, settings, machine, and the suite's version."""
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
    """Return the suite's commit, and whether its files were changed since; None where there is no git."""

    def ask(*arguments):
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=10)
        return done.stdout.strip() if done.returncode == 0 else None

    try:
        commit, changes = ask("rev-parse", "--short=10", "HEAD"), ask("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {"commit": commit, "changed": bool(changes)} if commit and (ROOT / ".git").exists() else None


def new_folder(name, parent=None):
    """Make a new folder, named after the run and the time, with a number where two start in one second."""
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
    return next((w.folder for w in training.callbacks if isinstance(w, Checkpoints)), None)


def _rows(training):
    """Return which rows of the loader's split make the batch under way, if the loader knows."""
    indices = getattr(training.train_iter, "indices", None)
    if indices is None or training.batches is None or training.batch >= training.batches:
        return None
    return indices(training.train_iter.epoch, training.batch).tolist()
