"""Owns grids of trainings: a trial for each combination of settings, each trained once however often asked for."""

from __future__ import annotations

import contextlib
import dataclasses
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
from utils.runs.checkpoints import plain
from utils.runs.claim import is_alive
from utils.runs.run import Run, all_runs, find, row
from utils.training.budget import Budget, choose_budget

HOW = ("seed", "protocol", "precision")  # what Recipe.train is told, beside the recipe's own fields
BROKEN = ("diverged", "failed")


@dataclasses.dataclass(frozen=True)
class Trial:
    """One training of a grid; its folder follows from all that it depends on, so it is the same in every process."""

    settings: dict  # {axis: value}, as the table shows it
    recipe: Recipe
    how: dict  # further arguments of Recipe.train
    folder: Path

    def __str__(self):
        words = {axis: f"{value:g}" if isinstance(value, float) else value for axis, value in self.settings.items()}
        return ", ".join(f"{axis} {value}" for axis, value in words.items())

    @property
    def run(self):
        """The trial's Run, read anew."""
        return Run(self.folder)


class Closed(Exception):
    """Leaves a training before its first batch: another process has done it since this one looked."""


class Look:
    """A watcher that looks again whether a trial is to be done, now that its folder is this process's own."""

    order = -0.5  # after the ledger, which takes the folder

    def __init__(self, folder, retries):
        self.folder, self.retries = folder, retries

    def on_start(self, training):
        """Leave if another process has done it since this one looked."""
        if not is_due(Run(self.folder).record, self.retries):
            raise Closed


def run_grid(recipe, axes, *, data=None, budget=None, name=None, retries=1, device=None, parent=None, **how):
    """Train a recipe with all combinations of axes, {"lr": [0.1, 0.01], "seed": [0, 1]}; return a table, a row a trial.

    An axis is a field of the recipe, a path into one ("optimizer_settings.weight_decay"), seed, protocol or precision;
    its values are a list, or a dict of {what to call it: value}. Called again, finished trials are not trained again,
    interrupted ones go on, and failed ones are tried again, `retries` times in all. A trial that fails is a row with
    its reason, and one that another process trains is left to it. how: further arguments of Recipe.train.
    """
    data, device = data or load_cifar10(), torch.device(device or try_gpu())
    budget = budget if isinstance(budget, Budget) else choose_budget(budget, device)
    name = name or f"{recipe.name}: {' x '.join(axes)}"
    parent = find(parent) if isinstance(parent, str) else parent
    trials = make_trials(recipe, axes, data, budget, device, parent, how)
    arguments = {"data": data, "budget": budget, "device": device, "parent": parent, "sweep": name, "curves": False}
    errors = {}
    with tqdm(total=len(trials), desc=name, file=sys.stdout, disable=bool(os.environ.get("CI")), leave=False) as bar:
        trained = work_through(trials, retries, arguments, errors, bar)
    table = table_of(trials, errors)
    print(summary(name, table, trained, strangers(name, trials)))
    return table


def work_through(trials, retries, arguments, errors, bar):
    """Train what is to be trained and free; return how many trials that were. An interrupt ends it."""
    trained = set()
    # A second round, for what another process held in the first one may have been given up since.
    for turn, trial in itertools.product(range(2), trials):
        bar.set_postfix_str(str(trial))
        outcome = "again"
        while outcome == "again" and trial.folder not in errors and is_free(trial, retries):
            outcome = train(trial, retries, arguments, errors)
            trained |= set() if outcome == "left" else {trial.folder}
        if outcome == "stopped":
            break
        bar.update(turn == 0)
    return len(trained)


def make_trials(recipe, axes, data, budget, device, parent, how):
    """List the trials of all combinations, each once; an error says which axis does not exist."""
    options = {axis: _options(axis, values) for axis, values in axes.items()}
    macs, found = {}, {}
    for values in itertools.product(*(values.items() for values in options.values())):
        given = dict(zip(options, values, strict=True))
        changed, told = recipe, {"seed": 0, "protocol": "honest", "precision": "auto", **how}
        for axis, (_, value) in given.items():
            changed, told = (changed, told | {axis: value}) if axis in HOW else (change(changed, axis, value), told)
        if changed.network not in macs:
            macs[changed.network] = changed.macs()
        parts = {name: told[name] for name in HOW}
        about = {"parent": parent, "macs": macs[changed.network], "compiled": told.get("compiled", False)}
        facts = changed.facts(data, budget, device, **parts, **about)
        folder = changed.folder(facts)
        found.setdefault(folder, Trial({axis: label for axis, (label, _) in given.items()}, changed, told, folder))
    return list(found.values())


def _options(axis, values):
    """Return an axis as {label: value}, with Python's numbers for NumPy's."""
    if isinstance(values, str) or not hasattr(values, "__iter__"):
        values = [values]
    values = values if isinstance(values, dict) else {_label(value): value for value in map(plain, values)}
    values = {label: plain(value) for label, value in values.items()}
    if not values:
        raise CourseworkError(f"The axis {axis!r} has no values.", next_step="Give it at least one, or leave it out.")
    return values


def _label(value):
    return value if isinstance(value, (bool, int, float, str)) or value is None else str(value)


def change(recipe, axis, value):
    """Return the recipe with a field changed, or with one entry of a field that is a dict: "loss_settings.weight"."""
    field, _, entry = axis.partition(".")
    fields = [f.name for f in dataclasses.fields(Recipe) if f.name not in ("report", "reported", "not_stated")]
    if field not in fields or (entry and not isinstance(getattr(recipe, field), dict)):
        next_step = f"Choose from {', '.join((*HOW, *fields))}, or optimizer_settings.weight_decay and the like."
        raise CourseworkError(f"A grid cannot vary {axis!r}.", next_step=next_step)
    return recipe.change(**{field: getattr(recipe, field) | {entry: value} if entry else value})


def is_due(record, retries):
    """Tell by a run's record whether it is still to be trained: not if it is finished, or has failed too often."""
    state = record.get("state")
    return failures(record) <= retries if state in BROKEN else state != "finished"


def failures(record):
    """Count the attempts that ended by an error."""
    return sum(attempt.get("how") in BROKEN for attempt in record.get("attempts") or ())


def is_free(trial, retries):
    """Tell whether a trial is to be trained, and nobody does."""
    return is_due(trial.run.record, retries) and not is_alive(trial.folder)


def train(trial, retries, arguments, errors):
    """Make an attempt; return "done", "again" if it failed and counts, "left" to another process, or "stopped"."""
    before, watchers = trial.run.record, [Look(trial.folder, retries)]
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # the bar keeps its line
            trained = trial.recipe.train(folder=trial.folder, watchers=watchers, **trial.how, **arguments)
    except Closed:
        return "left"
    except Exception as error:  # whatever ends one trial, the others are to be tried; its reason stands in the table
        if isinstance(error, CourseworkError) and is_alive(trial.folder):
            return "left"
        if failures(trial.run.record) > failures(before):
            return "again"
        errors[trial.folder] = f"{type(error).__name__}: {getattr(error, 'what', error)}"  # it could not even begin
        return "done"
    return "stopped" if trained.history.stopped else "done"


def strangers(name, trials):
    """List the runs of this name that the grid does not ask for: those of an earlier form of it."""
    own = {trial.folder.resolve() for trial in trials}
    return [run for run in all_runs() if run.record.get("sweep") == name and run.folder.resolve() not in own]


def table_of(trials, errors):
    """Return a grid's table: the settings, how each trial stands, what it reached, and why it failed if it did."""
    return pd.DataFrame([_row(trial, errors.get(trial.folder)) for trial in trials])


def _row(trial, error):
    run, state = trial.run, trial.run.state
    figures = row(run)
    state = "failed" if error else "not begun" if state == "unreadable" else state
    if state in BROKEN and not error:
        fault = next((fault for fault in reversed(run.faults) if fault.get("kind") in BROKEN), {})
        error = f"{fault.get('what', 'unknown')} (epoch {fault.get('epoch', '?')}, batch {fault.get('batch', '?')})"
    error = error or ("another process trains it" if state == "running" else "")
    watched = "test_acc" if trial.how["protocol"] == "report" else "val_acc"
    measured = {watched: figures[watched], "epochs": figures["epochs"], "seconds": figures["seconds"]}
    return (
        trial.settings
        | {"state": state}
        | measured
        | {"attempts": figures["attempts"], "run": run.name, "error": error}
    )


def summary(name, table, trained, others):
    """Return what became of a grid in one line, and one more where runs of its name belong to another form of it."""
    states = ", ".join(f"{count} {state}" for state, count in table["state"].value_counts(sort=False).items())
    lines = [f"{name}: {len(table)} trial{'s' * (len(table) > 1)}, {states}; {trained or 'none'} trained by this call."]
    if set(table["state"]) & {"stopped", "not begun"}:
        lines[0] += " The same call goes on."
    if others:
        names = ", ".join(run.name for run in others[:4]) + ", ..." * (len(others) > 4)
        lines.append(f"Another form of this grid left {len(others)} more, which are kept: {names}")
    return "\n".join(lines)
