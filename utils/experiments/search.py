"""Search for good hyperparameters: Optuna proposes each trial, and the run log remembers it.

table = run_search(recipe, {"lr": log_range(0.01, 1), "network_settings.width": [8, 16]}, trials=20, seed=0)
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import time

import pandas as pd

from utils.errors import CourseworkError, check_count
from utils.experiments.grid import grid_summary, progress_bar
from utils.experiments.propose import Tried, check_sampler, propose
from utils.experiments.ray_tasks import task_runner
from utils.experiments.search_log import Pruning, SearchLog
from utils.experiments.space import Range, checked_space, space_as_plain_data
from utils.experiments.trial import (
    Trial,
    as_text,
    is_due,
    is_free,
    make_trial,
    split_arguments,
    train_trial,
    trial_row,
)
from utils.recipes import Recipe
from utils.runs.claim import BEAT, STALE
from utils.runs.run import safe, trainings


def run_search(
    recipe: Recipe,
    space: dict,
    *,
    trials=20,
    seed=0,
    prune=False,
    sampler="auto",
    name=None,
    retries=1,
    engine=None,
    resources=None,
    **options,
) -> pd.DataFrame:
    """Train a recipe with `trials` settings from a space, each proposed from the results so far; return a row for each.

    The space has, for each setting, log_range(low, high), linear_range(low, high), a list, or a dict {label: value}. A
    setting is a field of the recipe ("lr") or an entry of a field ("network_settings.width"). The accuracy is that of
    the held-out training images after the last epoch. If the search is called again, it continues where it was stopped
    or killed, with the same trials; with a larger number of trials it is extended. Several processes that call the same
    search share its trials. seed is that of the proposals and of every training.

    prune: end trials early that are not among the best third after 1, 3, 9, ... epochs. sampler: "tpe" (Optuna's),
    "random", or "auto": tpe if Optuna is installed. The other arguments are those of run_grid.
    """
    trials, sampler_now = check_count("trials", trials, 1), check_sampler(sampler)
    space = checked_space(recipe, space)
    if options.setdefault("protocol", "validation") != "validation":
        what = "A search compares trials on held-out training images, so that the test images stay unused."
        raise CourseworkError(what, where=f"protocol={options['protocol']!r}", next_step="Leave protocol out.")
    name = name or f"{recipe.name}: search over {', '.join(space)}"
    arguments, options = split_arguments(name, **options)
    search = Search(recipe, space, trials, seed, prune, sampler, retries, arguments, options | {"seed": seed})
    with progress_bar(name, trials) as bar:
        if run_tasks := task_runner(engine, resources, arguments["device"]):
            outcomes = run_tasks(train_next, range(trials), search, bar)
        else:
            outcomes = list(train_here(search, bar))
    table = search.table()
    table.attrs["log"] = str(search.log.path)
    print(grid_summary(name, table, sum(outcome == "done" for outcome, _ in outcomes), ()))
    print(best_trial(table), f"Sampler: {sampler_now}. Log: {search.log.folder.name}", sep="\n")
    print(*(f"A task has failed: {error}" for _, error in outcomes if error), sep="\n", end="")
    return table


def train_here(search, bar):
    """Train trials in this process until none is left or the user stops; yield the outcome of each."""
    outcome = ("done", None)
    while outcome[0] == "done":
        outcome = train_next(None, search, patience=0)
        bar.update(outcome[0] == "done")
        yield outcome


def train_next(_, search, patience=STALE + BEAT) -> tuple[str, None]:
    """Train the search's next trial to its end; return ("done", None), or "stopped" or "none" in place of "done".

    If all trials left seem to be trained by other processes, wait `patience` seconds: a machine that was lost can't say
    so, and its trial is then continued here.
    """
    until = time.monotonic() + patience
    while True:
        number, trial = search.next()
        if trial is not None:
            outcome = search.train(number, trial)
            if outcome in ("done", "stopped"):
                return outcome, None
        elif time.monotonic() >= until or not search.has_open_trials():
            return "none", None
        else:
            time.sleep(1)


class Search:
    """A search: what is varied, and its log. It can be pickled, so that a task on another machine can continue it."""

    def __init__(self, recipe, space, count, seed, prune, sampler, retries, arguments, options):
        self.recipe, self.space, self.count, self.seed = recipe, space, count, seed
        self.prune, self.sampler, self.retries = prune, sampler, retries
        self.arguments, self.options = arguments, options
        self._trials = {}  # those that were proposed, {number: Trial}
        base = make_trial(recipe, {}, arguments, options).folder.name  # it depends on all facts of a training
        self.identity = {"base": base, "space": space_as_plain_data(space), "prune": prune, "sampler": sampler}
        digest = hashlib.sha256(json.dumps(self.identity).encode()).hexdigest()[:8]
        self.log = SearchLog(trainings() / f"search-{safe(recipe.name)}-s{seed}-{digest}")

    def trials(self) -> dict[int, Trial]:
        """Return the trials in the log, {number: Trial}; a line that can't be used counts as missing."""
        for number, line in self.log.read("proposal").items():
            if number not in self._trials and number < self.count:
                with contextlib.suppress(KeyError, TypeError):
                    self._trials[number] = self._trial(number, line["settings"])
        return dict(sorted(self._trials.items()))

    def _trial(self, number, labels):
        settings = {}
        for axis, values in self.space.items():
            label = labels[axis]
            settings[axis] = label, label if isinstance(values, Range) else values[label]
        more = {"search": self.log.folder.name, "callbacks": (Pruning(self.log, number),)} if self.prune else {}
        return make_trial(self.recipe, settings, self.arguments, self.options, **more)

    def next(self) -> tuple[int, Trial] | tuple[None, None]:
        """Return the first trial to train that no process is training, or a new one; (None, None) if there is none."""
        trials, failures = self.trials(), self.log.read("failure")
        for number, trial in trials.items():
            if number not in failures and is_free(trial, self.retries):
                return number, trial
        if len(trials) >= self.count:
            return None, None
        with self.log.claimed():
            if len(self.trials()) == len(trials):  # another process may have added one meanwhile
                self._propose()
        return self.next()

    def _propose(self):
        """Write the next trial to the log, with the trials that it was based on."""
        trials = self.trials()
        new = next(number for number in itertools.count() if number not in trials)
        failures = self.log.read("failure")
        earlier = {number: tried(trials[number], number in failures, self.retries) for number in range(new)}
        settings, proposer = propose(self.space, list(earlier.values()), self.seed, self.sampler)
        if not new:
            self.log.append("search", **self.identity)
        beside = [number for number, trial in earlier.items() if trial.state == "running"]
        based_on = [number for number in earlier if number not in beside]
        self.log.append("proposal", trial=new, settings=settings, by=proposer, based_on=based_on, beside=beside)

    def train(self, number, trial) -> str:
        """Train a trial once; return the outcome of `train_trial`."""
        outcome, error = train_trial(trial, self.retries, self.arguments)
        if error:
            with self.log.claimed():
                self.log.append("failure", trial=number, what=error)
        # Its last weights could not be written. It is still due, so without a stop it would be trained again and again.
        return "stopped" if trial.run.recorded_state == "unsaved" else outcome

    def has_open_trials(self) -> bool:
        """Return whether a trial still has to be trained, by this process or another one."""
        failures = self.log.read("failure")
        return any(is_due(trial.run, self.retries) for number, trial in self.trials().items() if number not in failures)

    def table(self) -> pd.DataFrame:
        """Return the table of the trials."""
        failures = self.log.read("failure")
        reasons = {number: line["what"] for number, line in failures.items()}
        rows = {number: trial_row(trial, reasons.get(number)) for number, trial in self.trials().items()}
        return pd.DataFrame(list(rows.values()), index=pd.Index(list(rows), name="trial"))


def tried(trial: Trial, has_failed: bool, retries: int) -> Tried:
    """Return what a proposal may know of an earlier trial."""
    run = trial.run
    accuracies = {row["epoch"]: row["val_acc"] for row in run.rows if "val_acc" in row}
    state = run.recorded_state
    if has_failed or (state == "finished" and not accuracies):
        state = "failed"
    elif is_due(run, retries):
        state = "running"
    elif run.is_pruned:
        state = "pruned"
    return Tried(trial.settings, state, accuracies)


def best_trial(table: pd.DataFrame) -> str:
    """Return a line with the best finished trial."""
    finished = table[table["state"] == "finished"]
    if finished.empty:
        return "No trial is finished."
    best = finished["val_acc"].idxmax()
    settings = table.loc[best, : table.columns[table.columns.get_loc("state") - 1]]
    return f"Best: trial {best}, val_acc {table['val_acc'][best]:.4f}, {as_text(settings)}."
