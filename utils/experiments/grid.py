"""Grids of trainings: one trial for each combination of settings; a finished trial is not trained again.

table = run_grid(recipe, {"lr": [0.1, 0.01], "network_settings.width": [32, 64], "seed": [0, 1, 2]})
"""

from __future__ import annotations

import itertools
import os
import sys

import pandas as pd
from tqdm import tqdm

from utils.experiments.ray_tasks import task_runner
from utils.experiments.trial import (
    Trial,
    axis_values,
    make_trial,
    split_arguments,
    train_when_free,
    trial_row,
)
from utils.recipes import Recipe
from utils.runs.run import all_runs


def run_grid(
    recipe: Recipe,
    axes: dict,
    *,
    name=None,
    retries=1,
    engine=None,
    resources=None,
    **options,
) -> pd.DataFrame:
    """Train a recipe with all combinations of axes, {"lr": [0.1, 0.01], "seed": [0, 1]}; return a row for each trial.

    An axis is a field of the recipe ("lr", "network"), an entry of a field ("network_settings.width"), seed, protocol
    or precision. Its values are a list, or a dict {label: value}. If the grid is run again, finished trials are not
    trained again, interrupted ones resume, and failed ones are tried again, `retries` times in total. The row of a
    failed trial contains the reason. Trials that another process is training are skipped. options are arguments of
    Recipe.train, such as data, effort and device. With engine="ray", each trial is a task on a Ray cluster, and
    resources are those of one trial: {"CPU": 1, "GPU": 0.5}.
    """
    name = name or f"{recipe.name}: {' x '.join(axes)}"
    arguments, options = split_arguments(name, **options)
    trials = make_trials(recipe, axes, arguments, options)
    with progress_bar(name, len(trials)) as bar:
        run_tasks = task_runner(engine, resources, arguments["device"]) or run_here
        outcomes = run_tasks(train_when_free, trials, (retries, arguments), bar)
    table = pd.DataFrame([trial_row(trial, error) for trial, (_, error) in zip(trials, outcomes, strict=True)])
    trained = sum(outcome in ("done", "again") for outcome, _ in outcomes)
    print(grid_summary(name, table, trained, _other_runs(name, trials)))
    return table


def progress_bar(name, total):
    """Return a progress bar of trials, which disappears at the end."""
    return tqdm(total=total, desc=name, file=sys.stdout, disable=bool(os.environ.get("CI")), leave=False)


def run_here(work, trials, shared, bar) -> list:
    """Call work(trial, shared) for each trial in this process, until an interrupt; return the results."""
    results = [("left", None)] * len(trials)
    # The second round is for trials that another process was training in the first round and has stopped since.
    for turn, number in itertools.product(range(2), range(len(trials))):
        if results[number][0] == "left":
            bar.set_postfix_str(str(trials[number]))
            results[number] = work(trials[number], shared, patience=0)
        if results[number][0] == "stopped":
            break
        bar.update(turn == 0)
    return results


def make_trials(recipe, axes, arguments, options) -> list[Trial]:
    """List the trials of all combinations, each once; raise an error for an unknown axis."""
    values = [axis_values(axis, values) for axis, values in axes.items()]
    recipe.macs()  # computed once and cached for all trials with the same network
    trials = {}
    for combination in itertools.product(*(choices.items() for choices in values)):
        trial = make_trial(recipe, dict(zip(axes, combination, strict=True)), arguments, options)
        trials.setdefault(trial.folder, trial)
    return list(trials.values())


def _other_runs(name, trials):
    """List the runs of an earlier version of the grid: they have its name, but are not among its trials."""
    folders = {trial.folder.resolve() for trial in trials}
    return [run for run in all_runs() if run.record.get("sweep") == name and run.folder.resolve() not in folders]


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
