"""Grids of trainings: one trial for each combination of settings; a finished trial is not trained again.

table = run_grid(recipe, {"lr": [0.1, 0.01], "network_settings.width": [32, 64], "seed": [0, 1, 2]})
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import itertools
import os
import sys
from pathlib import Path

import pandas as pd
import torch
from tqdm import tqdm

from utils.data.cifar10 import load_cifar10
from utils.devices import try_gpu
from utils.errors import CourseworkError
from utils.recipes import Recipe
from utils.recipes.recipe import WATCHED
from utils.runs.checkpoints import plain
from utils.runs.claim import is_alive
from utils.runs.run import RECORD, Run, all_runs, find
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

    def __str__(self):
        texts = {axis: f"{value:g}" if isinstance(value, float) else value for axis, value in self.settings.items()}
        return ", ".join(f"{axis} {value}" for axis, value in texts.items())

    @property
    def run(self) -> Run:
        """The trial's Run, read anew."""
        return Run(self.folder)


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


def run_grid(
    recipe: Recipe, axes: dict, *, data=None, effort=None, name=None, retries=1, device=None, parent=None, **options
) -> pd.DataFrame:
    """Train a recipe with all combinations of axes, {"lr": [0.1, 0.01], "seed": [0, 1]}; return a row for each trial.

    An axis is a field of the recipe ("lr", "network"), an entry of a field ("network_settings.width"), seed, protocol
    or precision. Its values are a list, or a dict {label: value}. If the grid is run again, finished trials are not
    trained again, interrupted ones resume, and failed ones are tried again, `retries` times in total. The row of a
    failed trial contains the reason. Trials that another process is training are skipped. options are further arguments
    of Recipe.train.
    """
    data, device = data or load_cifar10(), torch.device(device or try_gpu())
    effort = effort if isinstance(effort, Effort) else choose_effort(effort, device)
    name = name or f"{recipe.name}: {' x '.join(axes)}"
    parent = find(parent) if isinstance(parent, str) else parent
    trials = make_trials(recipe, axes, data, effort, device, parent, options)
    arguments = {"data": data, "effort": effort, "device": device, "parent": parent, "sweep": name, "curves": False}
    errors = {}
    with tqdm(total=len(trials), desc=name, file=sys.stdout, disable=bool(os.environ.get("CI")), leave=False) as bar:
        trained = train_trials(trials, retries, arguments, errors, bar)
    table = pd.DataFrame([_trial_row(trial, errors.get(trial.folder)) for trial in trials])
    print(grid_summary(name, table, trained, _other_runs(name, trials)))
    return table


def train_trials(trials, retries, arguments, errors, bar) -> int:
    """Train the trials that are due and that no other process is training, until an interrupt; return their number."""
    trained = set()
    # The second round is for trials that another process was training in the first round and has stopped since.
    for turn, trial in itertools.product(range(2), trials):
        bar.set_postfix_str(str(trial))
        outcome = "again"
        while outcome == "again" and trial.folder not in errors and is_free(trial, retries):
            outcome = train_trial(trial, retries, arguments, errors)
            if outcome != "left":
                trained.add(trial.folder)
        if outcome == "stopped":
            break
        bar.update(turn == 0)
    return len(trained)


def make_trials(recipe, axes, data, effort, device, parent, options) -> list[Trial]:
    """List the trials of all combinations, each once; raise an error for an unknown axis."""
    values = [axis_values(axis, values) for axis, values in axes.items()]
    recipe.macs()  # computed once and cached for all trials with the same network
    trials = {}
    for combination in itertools.product(*(choices.items() for choices in values)):
        varied = recipe
        arguments = {"seed": 0, "protocol": "validation", "precision": "auto", **options}
        for axis, (_, value) in zip(axes, combination, strict=True):
            if axis in TRAIN_OPTIONS:
                arguments[axis] = value
            else:
                varied = vary(varied, axis, value)
        chosen = {option: arguments[option] for option in TRAIN_OPTIONS}
        facts = varied.facts(data, effort, device, **chosen, parent=parent, compiled=arguments.get("compiled", False))
        folder = varied.folder(facts)
        settings = {axis: label for axis, (label, _) in zip(axes, combination, strict=True)}
        trials.setdefault(folder, Trial(settings, varied, arguments, folder))
    return list(trials.values())


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


def train_trial(trial, retries, arguments, errors) -> str:
    """Train a trial; return "done", "again" (it failed), "left" (another process trains it) or "stopped"."""
    failures = count_failures(trial.run.record)
    skip = SkipIfTrained(trial.folder, retries)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # only the progress bar is printed
            trial.recipe.train(folder=trial.folder, callbacks=[skip], **trial.options, **arguments)
    except AlreadyTrained:
        return "left"
    except Exception as error:  # after any error in one trial, the others are trained; the table shows the reason
        if isinstance(error, CourseworkError) and is_alive(trial.folder):
            return "left"
        if count_failures(trial.run.record) > failures:
            return "again"
        # It failed before its record was written, so the record does not contain the reason.
        errors[trial.folder] = f"{type(error).__name__}: {getattr(error, 'what', error)}"
        return "done"
    return "stopped" if skip.training.stop else "done"  # also after an interrupt while the last checkpoint was written


def _other_runs(name, trials):
    """List the runs of an earlier version of the grid: they have its name, but are not among its trials."""
    folders = {trial.folder.resolve() for trial in trials}
    return [run for run in all_runs() if run.record.get("sweep") == name and run.folder.resolve() not in folders]


def _trial_row(trial, error):
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
    elif state in (*FAILED, "unsaved"):
        fault = next((fault for fault in reversed(run.faults) if fault.get("kind") in (*FAILED, "unsaved")), {})
        error = f"{fault.get('what', 'unknown')} (epoch {fault.get('epoch', '?')}, batch {fault.get('batch', '?')})"
    watched = "test_acc" if WATCHED.get(trial.options["protocol"]) == "test" else "val_acc"
    measured = {name: figures[name] for name in (watched, "epochs", "seconds", "attempts")}
    return {**trial.settings, "state": state, **measured, "run": run.name, "error": error or ""}


def grid_summary(name, table, trained, others) -> str:
    """Return a line with the number of trials in each state, and a second one if an earlier version has left runs."""
    states = ", ".join(f"{count} {state}" for state, count in table["state"].value_counts(sort=False).items())
    trials = "1 trial" if len(table) == 1 else f"{len(table)} trials"
    lines = [f"{name}: {trials}, {states}; {trained or 'none'} trained by this call."]
    if set(table["state"]) & {"stopped", "unsaved", "not begun"}:
        lines[0] += " Call it again to resume."
    if others:
        names = ", ".join(run.name for run in others[:4])
        more = ", ..." if len(others) > 4 else ""
        lines.append(f"{len(others)} runs of an earlier version of this grid are kept: {names}{more}")
    return "\n".join(lines)
