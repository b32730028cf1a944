"""Read the run log: one training as a Run, `find("last")`, or all trainings as a table, `table()`."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import re
from pathlib import Path

import pandas as pd

from utils.errors import CourseworkError
from utils.files import read_json, read_lines
from utils.runs.checkpoint_files import listed, position
from utils.runs.claim import is_alive
from utils.runs.earlier_words import in_present_words
from utils.training.history import History

RECORD, METRICS, FAULTS, EVALUATION = "run.json", "metrics.jsonl", "faults.jsonl", "evaluation.json"
NETWORK = "network.json"
SETTLED = 0.01  # from the time to convergence on, no epoch's accuracy is more than this below the best one
NOT_A_NUMBER = float("nan")
LONGEST = 100  # bytes of a name; a folder's name, with what is added to it, may have 255, and a path 260 on Windows


def trainings():
    """Return the run log's folder: COURSEWORK_RUNS if it is set, else the folder runs/ of the suite."""
    return Path(os.environ.get("COURSEWORK_RUNS") or Path(__file__).resolve().parents[2] / "runs")


def safe(name):
    """Return a text with all characters replaced that a folder's name should not contain; a long one is shortened."""
    text = re.sub(r"[^\w.]+", "_", name).strip("_.") or "training"
    encoded = text.encode()
    if len(encoded) <= LONGEST:
        return text
    return encoded[: LONGEST - 11].decode(errors="ignore") + "-" + hashlib.sha256(encoded).hexdigest()[:10]


@dataclasses.dataclass(frozen=True)
class Run:
    """A recorded training. Its files are read when a property is used; `record` is the content of run.json."""

    folder: Path

    @property
    def name(self):
        """The folder's name, which `find` takes."""
        return self.folder.name

    @functools.cached_property
    def record(self):
        return in_present_words(read_json(self.folder / RECORD) or {})

    @property
    def state(self):
        """running, finished, unsaved, stopped, diverged, failed, unreadable, or interrupted if the process was killed.

        unsaved: all epochs were done, but the weights or the history of the end are not on the disk.
        """
        state = self.recorded_state
        if state != "unreadable" and is_alive(self.folder):
            return "running"
        return "interrupted" if state == "running" else state

    @property
    def recorded_state(self):
        """The state, except that it is "running" after the process was killed, and says nothing of a process now."""
        state = self.record.get("state") or "unreadable"
        newest = self.checkpoint
        if state != "finished" or newest is None:  # a finished run without checkpoints may be one that never had any
            return state
        attempts = self.record.get("attempts") or [{}]
        end = attempts[-1].get("at")
        return "finished" if end is None or list(position(newest)) == end else "unsaved"

    @property
    def title(self):
        """The run's name in a figure: its system, effort and seed."""
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
        """The number of lines in metrics.jsonl that cannot be read."""
        return self._lines[1]

    def history(self):
        """Return the History of all attempts together; an epoch that was trained twice counts once."""
        history = fold(self._lines[0])
        history.ended_early = self.record.get("ended_early")
        return history

    @functools.cached_property
    def faults(self):
        """The faults of the training, oldest first: a list of dicts with when, kind, what, epoch, batch."""
        return read_lines(self.folder / FAULTS)[0]

    @property
    def effort(self) -> str | None:
        """The name of the Effort, how much of the recipe was run."""
        return self.record.get("effort")

    @property
    def evaluation(self):
        """The measurements on the test images (evaluation.json, from utils/evaluation/evaluate.py), or None."""
        record = read_json(self.folder / EVALUATION)
        return record and in_present_words(record)

    @property
    def network(self):
        """The content of network.json, or None: runs of the first version have no such file."""
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
    """Return the run of this name, or the only run whose name begins with it; "last" is the newest run."""
    runs = all_runs(folder)
    exact = [run for run in runs if run.name in (name, safe(str(name)))] or (runs[-1:] if name == "last" else [])
    matches = exact or [run for run in runs if run.name.startswith(str(name))]
    if len(matches) == 1:
        return matches[0]
    what = f"There is no run {name!r}."
    if matches:
        what = f"The names of {len(matches)} runs begin with {name}."
    names = ", ".join(run.name for run in (matches or runs)[-8:])
    next_step = f"Choose one of {names}." if names else "Train a network first: every training is recorded."
    raise CourseworkError(what, where=Path(folder) if folder else trainings(), next_step=next_step)


def table(folder=None, **equal):
    """Return all runs as a table, one row per run, newest last. table(lr=0.1) returns only the runs with this value.

    ms_per_iteration: the time of an epoch, including the measurement after it, divided by its batches. settled_s: the
    time to convergence, in seconds; from then on the watched accuracy stays within one point of its best. error_rate:
    on the test images if they were measured, else on the watched images after the last epoch.
    """
    frame = pd.DataFrame([row(run) for run in all_runs(folder)], columns=COLUMNS).set_index("run")
    unknown = [name for name in equal if name not in frame.columns]
    if unknown:
        next_step = f"Choose from {', '.join(frame.columns)}."
        raise CourseworkError(f"The table has no column {', '.join(unknown)}.", next_step=next_step)
    for name, value in equal.items():
        frame = frame[frame[name] == value]
    return frame


# experiments/page.py lists the columns of the comparison page.
COLUMNS = (
    *("run", "system", "state", "data", "protocol", "seed", "effort", "epochs", "of", "val_acc", "best_val_acc"),
    *("test_acc", "test_acc_tta", "error_rate", "ms_per_iteration", "settled_s", "parameters", "macs", "lr"),
    *("batch_size", "optimizer", "schedule", "images", "seconds", "device", "attempts", "faults", "bad_lines"),
    *("parent", "sweep", "created"),
)


def row(run):
    """Return a run's row of the table, as a dict with all COLUMNS."""
    record, history = run.record, run.history()
    settings = record.get("settings") or {}
    values = {name: (record | settings).get(name) for name in COLUMNS}
    last = history.rows[-1] if history.rows else {}
    watched, is_validated = f"{record.get('watched', 'val')}_acc", any("val_acc" in row for row in history.rows)
    seconds = last.get("seconds", NOT_A_NUMBER)
    batches = last.get("epoch", 0) * (record.get("batches") or NOT_A_NUMBER)  # also those of epochs with lost lines
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

    With the protocol "watch_test" the test images are the watched ones, and the last epoch counts. All test
    accuracies are computed and recorded by `measure_test_accuracy` in utils/evaluation/evaluate.py.
    """
    if run.evaluation:
        return run.evaluation.get("accuracy")
    tests = run.record.get("tests") or ()
    rows = run.history().rows
    single = [test.get("accuracy") for test in tests if test.get("views") == "plain"]
    watched = [rows[-1].get("test_acc")] if rows else []
    # The first version did not record `views`, so such an accuracy may be one with test-time augmentation: it is used
    # only if there is no other.
    unnamed = [test.get("accuracy") for test in tests if "views" not in test]
    known = [accuracy for accuracy in (*single[-1:], *watched, *unnamed[-1:]) if accuracy is not None]
    return known[0] if known else None


def tta_accuracy(run: Run) -> float | None:
    """Return the newest test accuracy with test-time augmentation (TTA), or None if it was not measured."""
    averaged = [test for test in run.record.get("tests") or () if test.get("views", "plain") != "plain"]
    return averaged[-1].get("accuracy") if averaged else None


def settled(history, column):
    """Return the time to convergence: the seconds after which no accuracy was over one point below the best, or NaN."""
    rows = [row for row in history.rows if column in row and row[column] == row[column]]
    if not rows:
        return NOT_A_NUMBER
    least = max(row[column] for row in rows) - SETTLED
    first = next((i for i in reversed(range(len(rows))) if rows[i][column] < least), -1) + 1
    return rows[first].get("seconds", NOT_A_NUMBER) if first < len(rows) else NOT_A_NUMBER


def fold(lines):
    """Return the History in the lines of metrics.jsonl; an attempt replaces all rows and points after its start."""
    history, rows, points = (
        History(),
        {},
        {},
    )  # by epoch, as a line may be late, or be there twice, after a failed write
    for line in lines:
        if "from" in line:
            last_epoch, epochs_done = line["from"]
            rows = {epoch: row for epoch, row in rows.items() if epoch <= last_epoch}
            points = {epoch: point for epoch, point in points.items() if epoch <= epochs_done}
        elif "point" in line:
            epoch, loss, lr = map(_number, line["point"])
            points[epoch] = {"epoch": epoch, "loss": loss, "lr": lr}
        elif "epoch" in line:
            rows[line["epoch"]] = {name: _number(value) for name, value in line.items()}
    rows, points = ([by_epoch[epoch] for epoch in sorted(by_epoch)] for by_epoch in (rows, points))
    history.load_state_dict({"rows": rows, "points": points, "every": history.every, "last": (0.0, 0)})
    return history


def _is_valid(line):
    """Return True if a line of metrics.jsonl has the Recorder's form, or is of another kind, which fold ignores."""
    if "from" in line:
        return _are_numbers(line["from"], positions=2)
    if "point" in line:
        return _are_numbers(line["point"], positions=1, figures=2)
    return "epoch" not in line or _are_numbers([line["epoch"], *line.values()], positions=1, figures=len(line))


def _are_numbers(values, positions, figures=0):
    """Return True if values contains this many positions, then this many figures; a figure may be None."""
    if not isinstance(values, list) or len(values) != positions + figures:
        return False
    return all(isinstance(value, (int, float)) or (value is None and i >= positions) for i, value in enumerate(values))


def _number(value):
    return NOT_A_NUMBER if value is None else value
