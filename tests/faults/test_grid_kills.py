"""Tests that a grid killed at random times, and shared by several processes, does each trial once.

As a program with the arguments FOLDER KILLS SEED PROCESSES, this file kills processes that run a grid until so many are
killed, and prints a line of JSON.
"""

import contextlib
import functools
import io
import json
import os
import pathlib
import random
import sys
import time

import pytest
import torch
from forks import kill_until_done, result_of
from short_run import FOR_TRIALS, SLOW_RECIPE

from utils.experiments.grid import run_grid
from utils.experiments.trial import FAILED, count_failures
from utils.runs.run import all_runs, find

RETRIES = 2
FORMS = ({"lr": [0.01, 1e6], "seed": [0, 1]}, {"lr": [0.01, 0.02, 1e6], "seed": [1, 2]})  # the first, then changed

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="kills children that it forks")


@pytest.mark.parametrize(
    ("kills", "processes"), [(4, 1), (2, 2), pytest.param(50, 1, marks=pytest.mark.faults)]
    + [pytest.param(30, 2, marks=pytest.mark.faults)],
)  # fmt: skip
def test_a_grid_killed_at_random_times_does_each_trial_once(tmp_path, kills, processes, record_property):
    seen = result_of(__file__, tmp_path, kills, 0, processes)
    trials = f"{seen['once']} of {seen['trials']} trials done once, {seen['kept']} of {seen['old']} old ones kept"
    record_property("says", f"{seen['kills']} kills of {processes} processes with a grid; {trials}")
    assert seen["kills"] >= kills and (seen["resumed"] > 0 or kills < 30)
    assert seen["once"] == seen["trials"] > 0 and seen["equal"] == seen["finished"] > 0
    assert seen["most_failures"] == 1 + RETRIES
    assert seen["kept"] == seen["old"] > 0


def run(folder, form):
    """Run a form of the grid in this process, in a ledger of this folder; return its table."""
    os.environ.update(COURSEWORK_RUNS=str(folder), CI="1")
    with contextlib.redirect_stdout(io.StringIO()):
        return run_grid(SLOW_RECIPE, FORMS[form], name="g", retries=RETRIES, **FOR_TRIALS)


def kill_until(top, kills, seed, processes):
    """Kill so many processes, with a new ledger whenever the grid and its changed form are done; say what was seen."""
    clock, seen = random.Random(seed), dict.fromkeys(SEEN, 0)
    expected, length, ledgers = {}, 0.0, 0
    for form in (0, 1):
        begun = time.monotonic()
        expected[form] = accuracies(run(top / f"whole{form}", form))
        length = (time.monotonic() - begun) / processes  # of the second form: the first one takes longer to start
    while seen["kills"] < kills:
        folder, ledgers = top / str(ledgers), ledgers + 1
        for form in (0, 1):
            old = {run.name: files(run) for run in all_runs(folder)}
            work = functools.partial(run, folder, form)
            left = max(kills - seen["kills"], 1)
            seen["kills"] += kill_until_done(work, processes, min(left, 4), length, clock)
            table = run(folder, form)  # a look: nothing is left to do
            check(table, expected[form], seen)
            stay = [name for name in old if name not in set(table["run"])]
            seen["old"] += len(stay)
            seen["kept"] += sum(files(find(name)) == old[name] for name in stay)
    return seen


SEEN = ("kills", "trials", "once", "finished", "equal", "resumed", "most_failures", "old", "kept")


def check(table, expected, seen):
    """Count what a grid's runs tell: done once, ended as undisturbed, gone on with, failed how often."""
    seen["equal"] += sum(value == expected[key] for key, value in accuracies(table).items())
    for name in table["run"]:
        record = find(name).record
        ends = [attempt.get("how") for attempt in record["attempts"]]
        finished = record["state"] == "finished"
        once = ends.count("finished") == 1 and not count_failures(record) if finished else record["state"] in FAILED
        epochs = [row["epoch"] for row in find(name).history().rows]
        seen["once"] += once and (not finished or epochs == [1, 2])
        seen["trials"] += 1
        seen["finished"] += finished
        seen["resumed"] += None in ends
        seen["most_failures"] = max(seen["most_failures"], count_failures(record))


def accuracies(table):
    """Return {(lr, seed): validation accuracy} of the trials that are finished."""
    done = table[table["state"] == "finished"]
    return {(row.lr, row.seed): row.val_acc for row in done.itertuples()}


def files(run):
    """Return the content of a run's files."""
    return {path.name: path.read_bytes() for path in run.folder.iterdir()}


if __name__ == "__main__":
    torch.set_num_threads(1)  # before anything is computed: a process with threads must not fork
    print(json.dumps(kill_until(pathlib.Path(sys.argv[1]), *map(int, sys.argv[2:]))))
