"""One training of a grid or a search: its settings, its folder, and whether it has to be trained.

trial = make_trial(recipe, {"lr": ("low", 0.01)}, arguments, options)
trial.run.state
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import os
import time
from pathlib import Path

import torch

from utils.data.cifar10 import load_cifar10
from utils.devices import try_gpu
from utils.errors import CourseworkError
from utils.recipes import Recipe
from utils.recipes.recipe import WATCHED
from utils.runs.checkpoints import plain
from utils.runs.claim import BEAT, STALE, is_alive
from utils.runs.run import RECORD, Run, find
from utils.runs.run_table import row
from utils.training.effort import Effort, choose_effort
from utils.training.state import EARLY

TRAIN_OPTIONS = ("seed", "protocol", "precision")  # axes that are arguments of Recipe.train, not fields of the recipe
FAILED = ("diverged", "failed")


@dataclasses.dataclass(frozen=True)
class Trial:
    """One training of a grid. Its folder's name depends only on its facts, so it is the same in every process."""

    settings: dict  # {axis: value}, as shown in the table
    recipe: Recipe
    options: dict  # further arguments of Recipe.train
    folder: Path
    callbacks: tuple = ()

    def __str__(self):
        return as_text(self.settings)

    @property
    def run(self) -> Run:
        """The trial's Run, read anew."""
        return Run(self.folder)


def as_text(settings: dict) -> str:
    """Return settings as a text: "lr 0.1, batch_size 64"."""
    texts = {axis: f"{value:g}" if isinstance(value, float) else value for axis, value in settings.items()}
    return ", ".join(f"{axis} {value}" for axis, value in texts.items())


class AlreadyTrained(Exception):
    """Raised before the first batch if another process has trained the trial in the meantime."""


class SkipIfTrained:
    """A callback that checks, after the folder was claimed, whether the trial still has to be trained."""

    order = EARLY  # called after the Recorder, which claims the folder

    def __init__(self, folder, retries):
        self.folder, self.retries = folder, retries

    def on_start(self, training):
        """Raise AlreadyTrained if another process has trained the trial since this process checked."""
        self.training = training
        if not is_due(Run(self.folder), self.retries):
            raise AlreadyTrained


def split_arguments(name, *, data=None, effort=None, device=None, parent=None, **options) -> tuple[dict, dict]:
    """Split arguments of Recipe.train into those that are the same for all trials, with their defaults, and others."""
    data, device = data or load_cifar10(), torch.device(device or try_gpu())
    effort = effort if isinstance(effort, Effort) else choose_effort(effort, device)
    parent = find(parent) if isinstance(parent, str) else parent
    shared = {"data": data, "effort": effort, "device": device, "parent": parent, "sweep": name, "curves": False}
    return shared, options


def make_trial(recipe, settings: dict, arguments, options, search=None, callbacks=()) -> Trial:
    """Return the trial with these settings, {axis: (label, value)}.

    Its folder is the one that Recipe.train would choose; with the name of a search, it is a folder of that search.
    """
    options = {"seed": 0, "protocol": "validation", "precision": "auto", **options}
    for axis, (_, value) in settings.items():
        if axis in TRAIN_OPTIONS:
            options[axis] = value
        else:
            recipe = vary(recipe, axis, value)
    chosen = {name: options[name] for name in TRAIN_OPTIONS}
    shared = [arguments[name] for name in ("data", "effort", "device")]
    facts = recipe.facts(*shared, parent=arguments["parent"], **chosen) | ({"search": search} if search else {})
    labels = {axis: label for axis, (label, _) in settings.items()}
    return Trial(labels, recipe, options, recipe.folder(facts), callbacks)


def axis_values(axis: str, values) -> dict:
    """Return an axis as {label: value}, with Python's numbers instead of NumPy's."""
    if isinstance(values, str) or callable(values) or not hasattr(values, "__iter__"):
        values = [values]
    if not isinstance(values, dict):
        values = [plain(value) for value in values]
        values = {_label(value): value for value in values}
    if not values:
        what = f"The axis {axis!r} has no values."
        raise CourseworkError(what, next_step="Give it at least one value, or leave the axis out.")
    return {label: plain(value) for label, value in values.items()}


def _label(value):
    """Return a value's label in the table: the name of a class or function, other objects as text."""
    if isinstance(value, functools.partial):
        settings = ", ".join([*map(str, value.args), *(f"{name}={item}" for name, item in value.keywords.items())])
        return f"{_label(value.func)}({settings})"
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


def vary(recipe: Recipe, axis: str, value) -> Recipe:
    """Return the recipe with a field changed, or one entry of a field that is a dict: "network_settings.width"."""
    field, _, entry = axis.partition(".")
    fields = [f.name for f in dataclasses.fields(Recipe) if f.name not in ("report", "reported", "not_stated")]
    if field not in fields or (entry and not isinstance(getattr(recipe, field), dict)):
        next_step = f"Choose from {', '.join((*TRAIN_OPTIONS, *fields))}, or optimizer_settings.weight_decay and so on."
        what = f"A grid can't have the axis {axis!r}, because a recipe has no such setting."
        raise CourseworkError(what, next_step=next_step)
    if entry:
        value = getattr(recipe, field) | {entry: value}
    return recipe.change(**{field: value})


def is_due(run: Run, retries: int) -> bool:
    """Return whether a trial has to be trained: it is neither finished nor failed too often."""
    if run.recorded_state in FAILED:
        return count_failures(run.record) <= retries
    return run.recorded_state != "finished"


def count_failures(record: dict) -> int:
    """Count the attempts that ended with an error."""
    return sum(attempt.get("how") in FAILED for attempt in record.get("attempts") or ())


def is_free(trial: Trial, retries: int) -> bool:
    """Return whether a trial is due and no process is training it."""
    return is_due(trial.run, retries) and not is_alive(trial.folder)


def train_trial(trial, retries, arguments) -> tuple[str, str | None]:
    """Train a trial; return the outcome, and the reason if it failed before its record was written.

    The outcome is "done", "again" (it failed), "left" (another process trains it) or "stopped".
    """
    failures = count_failures(trial.run.record)
    skip = SkipIfTrained(trial.folder, retries)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # only the progress bar is printed
            trial.recipe.train(folder=trial.folder, callbacks=[skip, *trial.callbacks], **trial.options, **arguments)
    except AlreadyTrained:
        return "left", None
    except Exception as error:  # after any error in one trial, the others are trained; the table shows the reason
        if isinstance(error, CourseworkError) and is_alive(trial.folder):
            return "left", None
        if count_failures(trial.run.record) > failures:
            return "again", None  # its record contains the reason
        return "done", f"{type(error).__name__}: {getattr(error, 'what', error)}"
    outcome = "stopped" if skip.training.stop else "done"  # also if the last checkpoint was written meanwhile
    return outcome, None


def train_when_free(trial, shared, patience=STALE + BEAT) -> tuple[str, str | None]:
    """Train a trial to its end; return what `train_trial` does, or the outcome "none" if it was not due.

    If another process seems to be training it, wait `patience` seconds: a machine that was lost can't say so.
    """
    (retries, arguments), outcome, error = shared, "none", None
    until = time.monotonic() + patience
    while is_due(trial.run, retries):
        outcome, error = ("left", None) if is_alive(trial.folder) else train_trial(trial, retries, arguments)
        if outcome in ("done", "stopped") or (outcome == "left" and time.monotonic() >= until):
            break
        if outcome == "left":
            time.sleep(1)
    return outcome, error


def trial_row(trial, error):
    """Return a row of the table: the trial's settings, state and accuracy, and the reason if it failed."""
    run, state, figures = trial.run, trial.run.state, row(trial.run)
    if error:
        state = "failed"
    elif not os.path.lexists(trial.folder / RECORD):
        state = "not begun"
    elif state == "unreadable":
        error = run.problem
    elif state == "running":
        error = "another process is training it"
    elif run.is_pruned:
        state = "pruned"
    elif state in (*FAILED, "unsaved"):
        fault = next((fault for fault in reversed(run.faults) if fault.get("kind") in (*FAILED, "unsaved")), {})
        error = f"{fault.get('what', 'unknown')} (epoch {fault.get('epoch', '?')}, batch {fault.get('batch', '?')})"
    watched = "test_acc" if WATCHED.get(trial.options["protocol"]) == "test" else "val_acc"
    measured = {name: figures[name] for name in (watched, "epochs", "seconds", "attempts")}
    return {**trial.settings, "state": state, **measured, "run": run.name, "error": error or ""}
