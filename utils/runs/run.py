"""Read the run log: a training as a Run, `find("last")`; all trainings, `all_runs()`."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import re
from pathlib import Path

from utils.errors import CourseworkError
from utils.runs.checkpoint_files import listed, position
from utils.runs.claim import is_alive
from utils.runs.schema import (
    EVALUATION_FIELDS,
    NETWORK_FIELDS,
    RUN_FIELDS,
    evaluation_disagreement,
    is_fault_line,
    is_metrics_line,
    network_disagreement,
    read_checked,
    read_checked_lines,
)
from utils.training.history import History

RECORD, METRICS, FAULTS, EVALUATION = "run.json", "metrics.jsonl", "faults.jsonl", "evaluation.json"
NETWORK = "network.json"
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
    """A recorded training. A file is read when a property first needs it, and only once.

    A file that can't be read counts as missing: `state` is then "unreadable" and `problem` is the reason.
    """

    folder: Path

    @property
    def name(self):
        """The folder's name, which `find` takes."""
        return self.folder.name

    @functools.cached_property
    def _record(self):
        record, problem = read_checked(self.folder / RECORD, RUN_FIELDS)
        return record or {}, problem or (None if record else f"{RECORD} is missing.")

    @functools.cached_property
    def _evaluation(self):
        return read_checked(self.folder / EVALUATION, EVALUATION_FIELDS, evaluation_disagreement)

    @functools.cached_property
    def _network(self):
        return read_checked(self.folder / NETWORK, NETWORK_FIELDS, network_disagreement)

    @functools.cached_property
    def _lines(self):
        return read_checked_lines(self.folder / METRICS, is_metrics_line)

    @functools.cached_property
    def _fault_lines(self):
        return read_checked_lines(self.folder / FAULTS, is_fault_line)

    @property
    def record(self) -> dict:
        """The content of run.json."""
        return self._record[0]

    @property
    def problem(self) -> str | None:
        """The reason why one of the run's files can't be read, or None."""
        files = (self._record, self._evaluation, self._network, self._lines, self._fault_lines)
        return next((problem for *_, problem in files if problem), None)

    @property
    def state(self):
        """running, finished, unsaved, stopped, diverged, failed, unreadable, or interrupted if the process was killed.

        unsaved: all epochs were done, but the weights or the history of the end are not on the disk.
        """
        if self.problem:
            return "unreadable"
        state = self.recorded_state
        if is_alive(self.folder):
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

    @property
    def bad_lines(self):
        """The number of lines in metrics.jsonl and faults.jsonl that cannot be read."""
        return self._lines[1] + self._fault_lines[1]

    def history(self):
        """Return the History of all attempts together; an epoch that was trained twice counts once."""
        history = fold(self._lines[0])
        history.ended_early = self.record.get("ended_early")
        return history

    @functools.cached_property
    def rows(self) -> list[dict]:
        """The rows of the history, for readers that do not change them."""
        return self.history().rows

    @property
    def is_pruned(self) -> bool:
        """Whether a search ended this training early, because other trials were better at the same epoch."""
        return "pruned_by" in (self.record.get("ended_early") or {})

    @property
    def watched(self) -> str:
        """The images that were measured after every epoch: "val" or "test"."""
        return self.record.get("watched") or "val"

    @property
    def faults(self):
        """The faults of the training, oldest first: a list of dicts with when, kind, what, epoch, batch."""
        return self._fault_lines[0]

    @property
    def effort(self) -> str | None:
        """The name of the Effort, how much of the recipe was run."""
        return self.record.get("effort")

    @property
    def evaluation(self):
        """The measurements on the test images (evaluation.json, from utils/evaluation/evaluate.py), or None."""
        return self._evaluation[0]

    @property
    def network(self):
        """The content of network.json, or None."""
        return self._network[0]

    @property
    def network_name(self) -> str:
        """The name of the network: its name or import path in the recipe, or its class; "" if it is unknown."""
        summary = self.network or {}
        name = (self.record.get("recipe") or {}).get("network")
        return name or summary.get("path") or summary.get("class") or ""

    @functools.cached_property
    def settings(self) -> dict:
        """All settings that the result depends on, except the seed: {"optimizer_settings.momentum": 0.9, ...}.

        Without a recipe not all settings are known. The run's name is then one of the settings, so that no two such
        runs count as equal.
        """
        record = self.record
        if record.get("recipe"):
            settings = _flat(record["recipe"])
            settings.pop("name", None)
        else:
            settings = {"run": self.name, "network": self.network_name} | _flat(record.get("settings") or {})
        settings |= {name: record.get(name) for name in ("images", "protocol", "precision", "parent")}
        settings["effort"] = self.effort
        settings["data"] = (record.get("data") or {}).get("checksum")
        return settings

    @property
    def is_by_hand(self) -> bool:
        """Whether the training had no recipe."""
        return "run" in self.settings

    @property
    def checkpoint(self):
        """The newest checkpoint's path, or None."""
        return next(iter(listed(self.folder)), None)

    @property
    def data(self):
        """The images' name, or "unknown images"."""
        return (self.record.get("data") or {}).get("name") or "unknown images"


def _flat(fields):
    """Return a dict of dicts as one dict, {"field.entry": value}."""
    flat = {}
    for field, value in fields.items():
        if isinstance(value, dict):
            flat |= {f"{field}.{entry}": item for entry, item in value.items()}
        else:
            flat[field] = value
    return flat


def all_runs(folder=None):
    """List the runs in a folder, by default the run log's, oldest first."""
    folder = Path(folder) if folder else trainings()
    # os.path.lexists is also true for a link that leads nowhere: such a run is listed as unreadable.
    runs = [Run(path) for path in folder.glob("*") if os.path.lexists(path / RECORD)]
    return sorted(runs, key=lambda run: (run.record.get("created") or "", run.name))


def find(name, folder=None):
    """Return the run of this name, or the only run whose name begins with it; "last" is the newest run."""
    runs = all_runs(folder)
    exact = [run for run in runs if run.name in (name, safe(str(name)))] or (runs[-1:] if name == "last" else [])
    matches = exact or [run for run in runs if run.name.startswith(str(name))]
    if len(matches) == 1:
        return matches[0]
    what = f"There is no run {name!r}." if runs else "There is no run yet."
    if matches:
        what = f"The names of {len(matches)} runs begin with {name}."
    names = ", ".join(run.name for run in (matches or runs)[-8:])
    next_step = f"Choose one of {names}." if names else "Train a network first: every training is recorded."
    raise CourseworkError(what, where=Path(folder) if folder else trainings(), next_step=next_step)


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


def _number(value):
    return NOT_A_NUMBER if value is None else value
