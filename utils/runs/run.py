"""The run log's reader: each training as a Run, all of them as one table: `table()`, `find("last")`."""

from __future__ import annotations

import dataclasses
import functools
import os
import re
from pathlib import Path

import pandas as pd

from utils.errors import CourseworkError
from utils.files import read_json, read_lines
from utils.runs.checkpoint_files import listed
from utils.runs.claim import is_alive
from utils.training.history import History

RECORD, METRICS, FAULTS, EVALUATION = "run.json", "metrics.jsonl", "faults.jsonl", "evaluation.json"
NETWORK = "network.json"
SETTLED = 0.01  # accuracy has settled when no later epoch is further below the best one
NOT_A_NUMBER = float("nan")


def trainings():
    """Return the run log's folder: COURSEWORK_RUNS, else runs/ of the suite."""
    return Path(os.environ.get("COURSEWORK_RUNS") or Path(__file__).resolve().parents[2] / "runs")


def safe(name):
    """Return a text as a part of a folder's name."""
    return re.sub(r"[^\w.]+", "_", name).strip("_.") or "training"


@dataclasses.dataclass(frozen=True)
class Run:
    """A training as its folder describes it, read when asked for; `record` is the content of run.json."""

    folder: Path

    @property
    def name(self):
        """The folder's name, by which `find` knows it."""
        return self.folder.name

    @functools.cached_property
    def record(self):
        return read_json(self.folder / RECORD) or {}

    @property
    def state(self):
        """How it stands: running, finished, stopped, diverged, failed, or interrupted if it ended without a word."""
        state = self.record.get("state")
        if state is None:
            return "unreadable"
        if is_alive(self.folder):
            return "running"
        return "interrupted" if state == "running" else state

    @property
    def title(self):
        """What to call it in a figure: the system, and what tells it from others of the same system."""
        record = self.record
        parts = [record.get("system") or self.name, self.effort]
        parts += [f"seed {record['seed']}"] if record.get("seed") is not None else []
        return ", ".join(part for part in parts if part)

    @functools.cached_property
    def _lines(self):
        lines, bad = read_lines(self.folder / METRICS)
        valid = [line for line in lines if _is_valid(line)]
        return valid, bad + len(lines) - len(valid)

    @property
    def bad_lines(self):
        """How many lines of its metrics cannot be read."""
        return self._lines[1]

    def history(self):
        """Return its History, of all attempts together: what an attempt did again counts once."""
        history = fold(self._lines[0])
        history.ended_early = self.record.get("ended_early")
        return history

    @functools.cached_property
    def faults(self):
        """What went wrong, oldest first: a list of dicts with when, kind, what, epoch, batch."""
        return read_lines(self.folder / FAULTS)[0]

    @property
    def effort(self) -> str | None:
        """How much of its recipe was run: the name of an Effort (the first version called it a budget)."""
        return self.record.get("effort") or self.record.get("budget")

    @property
    def evaluation(self):
        """What was measured on the test images, as utils/evaluation/evaluate.py wrote it, or None."""
        return read_json(self.folder / EVALUATION)

    @property
    def network(self):
        """What network.json says of the network, or None: runs of the first version have none."""
        return read_json(self.folder / NETWORK)

    @property
    def checkpoint(self):
        """The newest checkpoint's path, or None."""
        return next(iter(listed(self.folder)), None)

    @property
    def data(self):
        """The images' name, or "unknown images"."""
        return (self.record.get("data") or {}).get("name", "unknown images")


def all_runs(folder=None):
    """List the runs in a folder, by default the run log's, oldest first."""
    folder = Path(folder) if folder else trainings()
    runs = [Run(path.parent) for path in folder.glob(f"*/{RECORD}")]
    return sorted(runs, key=lambda run: (str(run.record.get("created") or ""), run.name))


def find(name, folder=None):
    """Return the run of this name, or of a beginning that only one has; "last" is the newest."""
    runs = all_runs(folder)
    exact = [run for run in runs if run.name in (name, safe(str(name)))] or (runs[-1:] if name == "last" else [])
    found = exact or [run for run in runs if run.name.startswith(str(name))]
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} runs are called {name}..." if found else f"There is no run {name!r}."
    names = ", ".join(run.name for run in (found or runs)[-8:])
    next_step = f"Choose one of {names}." if names else "Train something first: every training is recorded."
    raise CourseworkError(what, where=Path(folder) if folder else trainings(), next_step=next_step)


def table(folder=None, **equal):
    """Return all runs as a table, a row each, newest last; equal keeps those whose columns have these values.

    ms_per_iteration is an epoch's time, measuring included, by its batches; settled_s the seconds until the end of the
    first epoch from which on the watched accuracy stays within one point of its best; error_rate is that of the test
    images if they were measured, else of the watched ones after the last epoch.
    """
    frame = pd.DataFrame([row(run) for run in all_runs(folder)], columns=COLUMNS).set_index("run")
    unknown = [name for name in equal if name not in frame.columns]
    if unknown:
        next_step = f"Choose from {', '.join(frame.columns)}."
        raise CourseworkError(f"The table has no column {', '.join(unknown)}.", next_step=next_step)
    for name, value in equal.items():
        frame = frame[frame[name] == value]
    return frame


COLUMNS = (
    *("run", "system", "state", "data", "protocol", "seed", "effort", "epochs", "of", "val_acc", "best_val_acc"),
    *("test_acc", "test_acc_tta", "error_rate", "ms_per_iteration", "settled_s", "parameters", "macs", "lr"),
    *("batch_size", "optimizer", "schedule", "images", "seconds", "device", "attempts", "faults", "bad_lines"),
    *("parent", "sweep", "created"),
)


def row(run):
    """Return a run's figures as a dict with all COLUMNS."""
    record, history = run.record, run.history()
    settings = record.get("settings") or {}
    values = {name: (record | settings).get(name) for name in COLUMNS}
    last = history.rows[-1] if history.rows else {}
    watched, is_validated = f"{record.get('watched', 'val')}_acc", any("val_acc" in row for row in history.rows)
    seconds = last.get("seconds", NOT_A_NUMBER)
    batches = last.get("epoch", 0) * (record.get("batches") or NOT_A_NUMBER)  # also of epochs whose lines are lost
    tested, averaged = tested_accuracy(run), tta_accuracy(run)
    measured = tested if tested is not None else last.get(watched, NOT_A_NUMBER)
    return values | {
        "run": run.name,
        "system": record.get("system"),
        "effort": run.effort,
        "state": run.state,
        "data": run.data,
        "epochs": len(history),
        "of": record.get("num_epochs"),
        "val_acc": last.get("val_acc", NOT_A_NUMBER),
        "best_val_acc": history.best("val_acc")["val_acc"] if is_validated else NOT_A_NUMBER,
        "test_acc": NOT_A_NUMBER if tested is None else tested,
        "test_acc_tta": NOT_A_NUMBER if averaged is None else averaged,
        "error_rate": 1 - measured,
        "ms_per_iteration": 1000 * seconds / batches if batches else NOT_A_NUMBER,
        "settled_s": settled(history, watched),
        "seconds": seconds,
        "attempts": len(record.get("attempts") or ()),
        "faults": len(run.faults),
        "bad_lines": run.bad_lines,
    }


def tested_accuracy(run: Run) -> float | None:
    """Return the fraction of test images that single predictions got right, or None if it was not measured.

    Under the protocol "report" the test images are the watched ones, and the last epoch counts.
    """
    if run.evaluation:
        return run.evaluation.get("accuracy")
    tests = run.record.get("tests") or ()
    rows = run.history().rows
    single = [test.get("accuracy") for test in tests if test.get("views") == "plain"]
    watched = [rows[-1].get("test_acc")] if rows else []
    # The first version did not note the views. Its recipes with test-time augmentation come last for that reason.
    unnamed = [test.get("accuracy") for test in tests if "views" not in test]
    known = [accuracy for accuracy in (*single[-1:], *watched, *unnamed[-1:]) if accuracy is not None]
    return known[0] if known else None


def tta_accuracy(run: Run) -> float | None:
    """Return the newest test accuracy with test-time augmentation (TTA), or None if it was not measured."""
    averaged = [test for test in run.record.get("tests") or () if test.get("views", "plain") != "plain"]
    return averaged[-1].get("accuracy") if averaged else None


def settled(history, column):
    """Return the seconds after which no epoch's accuracy was more than one point below the best, or NaN."""
    rows = [row for row in history.rows if column in row and row[column] == row[column]]
    if not rows:
        return NOT_A_NUMBER
    least = max(row[column] for row in rows) - SETTLED
    first = next((i for i in reversed(range(len(rows))) if rows[i][column] < least), -1) + 1
    return rows[first].get("seconds", NOT_A_NUMBER) if first < len(rows) else NOT_A_NUMBER


def fold(lines):
    """Return the History that the lines of a run's metrics tell: an attempt replaces what lies after its beginning."""
    history, points = History(), []
    for line in lines:
        if "from" in line:
            epoch, part = line["from"]
            history.rows = [row for row in history.rows if row["epoch"] <= epoch]
            points = [point for point in points if point["epoch"] <= part]
        elif "point" in line:
            points.append(dict(zip(("epoch", "loss", "lr"), map(_number, line["point"]), strict=True)))
        elif "epoch" in line:
            history.rows.append({name: _number(value) for name, value in line.items()})
    history.load_state_dict({"rows": history.rows, "points": points, "every": history.every, "last": (0.0, 0)})
    return history


def _is_valid(line):
    """Tell whether a line of metrics has the shape that the recorder writes; fold ignores lines of other kinds."""
    if "from" in line:
        return _are_numbers(line["from"], places=2)
    if "point" in line:
        return _are_numbers(line["point"], places=1, figures=2)
    return "epoch" not in line or _are_numbers([line["epoch"], *line.values()], places=1, figures=len(line))


def _are_numbers(values, places, figures=0):
    """Tell whether these are so many places in the training, and so many figures, which may be null for no number."""
    if not isinstance(values, list) or len(values) != places + figures:
        return False
    return all(isinstance(value, (int, float)) or (value is None and i >= places) for i, value in enumerate(values))


def _number(value):
    return NOT_A_NUMBER if value is None else value
