"""Owns writing the ledger: a watcher that keeps a training's record while it runs. runs.py reads it."""

from __future__ import annotations

import datetime
import functools
import os
import platform
import re
import subprocess
import time
import warnings
from pathlib import Path

import torch

from utils.devices import describe
from utils.errors import DivergedError, LedgerWarning
from utils.files import append_lines, read_json, write_json
from utils.models.count import parameters
from utils.runs.checkpoints import Checkpoints
from utils.runs.claim import Claim
from utils.runs.run import EVALUATION, FAULTS, METRICS, RECORD, Run, trainings
from utils.runs.same_training import settings_of

ROOT = Path(__file__).resolve().parents[2]
POINTS_EVERY = 10.0  # seconds between two looks at the loss in mid-epoch: on a GPU, looking waits for it


class Ledger:
    """A watcher that puts a training on the ledger; train_ch3 adds one where there is none.

    folder: the run's own; without one it takes that of the Checkpoints, or makes a new one called `name` and the time.
    facts: what the training cannot tell of itself, such as recipe, seed and budget. A folder in which another process
    trains is refused; a folder that cannot be written costs a warning, and not the training.
    """

    order = -1  # first at the beginning, so that nobody else touches a folder that is taken, and last at the end

    def __init__(self, folder=None, name="training", facts=None):
        self.folder, self.name, self.facts = Path(folder) if folder else None, name, facts or {}
        self.unwritten = None  # why something could not be written
        self._claim, self._record, self._saw, self._attempt = None, {}, {}, None
        self._state, self._is_new, self._begun, self._points, self._due = None, True, False, 0, 0.0

    def on_start(self, training):
        """Take the folder, and write what is known before the first batch."""
        self._claim, self._begun, self._attempt = None, False, None
        self._part = getattr(training.step, "part", None)
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
            self._record, self._state = self._describe(training, before or {}), (before or {}).get("state")
            if self._is_new:  # the record of an older attempt stays until this is known to be the same training
                write_json(self.folder / RECORD, self._record)

    def _describe(self, training, before):
        kept = {name: before[name] for name in ("created", "attempts", "tests", "earlier_tests") if name in before}
        record = {"format": 1, "run": self.folder.name, "system": self.name, "created": now(), "state": "running"}
        return record | facts_of(training) | self.facts | {"attempts": []} | kept

    def on_ready(self, training):
        """Note an attempt and where it begins, now that a resumed training is back in its place."""
        if self._claim is None:
            return
        self._begun, place = True, [training.epoch, training.batch]
        with self._or_warn():
            if place == [0, 0]:
                self._set_tests_aside()
            self._attempt = {"begun": now(), "host": platform.node(), "pid": os.getpid(), "from": place}
            self._record |= {"attempts": [*self._record["attempts"], self._attempt], "state": "running"}
            self._catch_up(training)
            write_json(self.folder / RECORD, self._record)

    def _set_tests_aside(self):
        """Let no test of a network that was trained here before pass for one of the network that begins now."""
        if tests := self._record.pop("tests", None):
            self._record["earlier_tests"] = [*self._record.get("earlier_tests", ()), *tests]
        evaluation = self.folder / EVALUATION
        if evaluation.exists():
            evaluation.replace(evaluation.with_suffix(".old"))

    def after_batch(self, training):
        """Note a fault that was mended, and now and then the newest points of the loss."""
        if self._claim is None:
            return
        if self._claim.lost:
            self._claim = None
            raise RuntimeError(f"Another process has taken over this run while this one slept: {self.folder}")
        self._look(training)
        if time.monotonic() >= self._due:
            self._write(training)

    def after_epoch(self, training):
        """Write the epoch's row."""
        if self._claim is not None:
            self._write(training, training.history.rows[-1])

    def on_end(self, training):
        """Write how it ended, and let go of the folder; a refused training leaves the record of another as it was."""
        if self._claim is None:
            return
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
            for attempt in self._record["attempts"][-1:]:
                attempt.update({"ended": now(), "how": how} if attempt.get("how") is None else {})
        self._look(training)
        self._record |= {"state": how, "seconds": training.seconds}
        write_json(self.folder / RECORD, self._record)

    def _catch_up(self, training):
        """Write that what follows begins here, and what earlier attempts were killed too soon to write."""
        self._due = time.monotonic() + POINTS_EVERY
        part = training.epoch + training.batch / (training.batches or training.batch or 1)
        known = Run(self.folder).history()
        written = {row["epoch"] for row in known.rows}
        missing = [row for row in training.history.rows if row["epoch"] not in written]
        attempt = {"attempt": len(self._record["attempts"]), "from": [training.epoch, part]}
        append_lines(self.folder / METRICS, [attempt, *missing])
        self._points = sum(point["epoch"] <= part for point in known.points)
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

    def _look(self, training):
        """Note that a step's batches were cut into smaller parts, or that a checkpoint could not be written."""
        part = getattr(training.step, "part", None)
        unsaved = next((w.unsaved for w in training.watchers if isinstance(w, Checkpoints)), None)
        seen = {"memory": part != self._part and f"Memory ran out: {part} images at a time.", "unsaved": unsaved}
        for kind, what in seen.items():
            if what and what != self._saw.get(kind):
                self.note_fault(kind, what, training)
        if seen != self._saw:
            self._saw, self._record["unsaved"] = seen, unsaved

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
    """Turn an OSError inside a with block into a warning, once for each message: training goes on without a record."""

    def __init__(self, ledger):
        self.ledger = ledger

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if not isinstance(error, OSError):
            return False
        if str(error) != self.ledger.unwritten:
            self.ledger.unwritten = str(error)
            next_step = "make room or mend the folder; the training goes on, what could not be written is missing."
            where = self.ledger.folder or trainings()
            what = f"The ledger could not be written: {error}\n  where: {where}\n  next:  {next_step}"
            warnings.warn(what, LedgerWarning, stacklevel=4)
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
    if training.error is not None:
        by_user = isinstance(training.error, KeyboardInterrupt)
        return "diverged" if isinstance(training.error, DivergedError) else "stopped" if by_user else "failed"
    return "finished" if training.epoch >= training.num_epochs else "stopped"


def facts_of(training):
    """Return what can be told of any training: its images, network, settings, machine, and the suite's version."""
    split = getattr(training.train_iter, "split", None) or getattr(training.train_iter, "dataset", None)
    origin = getattr(split, "origin", None)
    return {
        "settings": settings_of(training),
        "data": dict(origin) if origin else None,
        "images": len(split) if hasattr(split, "__len__") else None,
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

    def ask(*words):
        done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, timeout=10)
        return done.stdout.strip() if done.returncode == 0 else None

    try:
        commit, changes = ask("rev-parse", "--short=10", "HEAD"), ask("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {"commit": commit, "changed": bool(changes)} if commit and (ROOT / ".git").exists() else None


def new_folder(name, parent=None):
    """Make a folder that no other run has: called by name and time, and by a number where two begin in one second."""
    stem = f"{safe(name)}-{time.strftime('%Y%m%d-%H%M%S')}"
    for number in range(1, 10_000):
        folder = (parent or trainings()) / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
    raise FileExistsError(f"10,000 runs of {stem}")


def safe(name):
    """Return a text as a part of a folder's name."""
    return re.sub(r"[^\w.]+", "_", name).strip("_.") or "training"


def now():
    """Return the time as every record gives it: UTC, to the second."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def _folder_of(training):
    return next((w.folder for w in training.watchers if isinstance(w, Checkpoints)), None)


def _rows(training):
    """Return which rows of the loader's split make the batch under way, where the loader can tell."""
    indices = getattr(training.train_iter, "indices", None)
    if indices is None or training.batches is None or training.batch >= training.batches:
        return None
    return indices(training.train_iter.epoch, training.batch).tolist()
