"""Tests that a search killed at random times, or shared by several processes, trains each trial once.

As a program with the arguments FOLDER KILLS SEED PROCESSES SIZE, this file kills processes that run a search until so
many are killed, and prints a line of JSON.
"""

import contextlib
import functools
import importlib.util
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

from utils.experiments.search import run_search
from utils.experiments.search_log import SearchLog
from utils.experiments.space import log_range
from utils.runs.run import Run

SPACE = {"lr": log_range(0.01, 10.0), "network_settings.channels": [2, 4, 8]}
TRIALS = {"small": 5, "long": 14}  # with Optuna, the first ten are drawn at random

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="kills children that it forks")


@pytest.mark.parametrize(
    ("kills", "processes", "size"),
    [
        (3, 1, "small"),
        (1, 2, "small"),
        pytest.param(20, 1, "long", marks=pytest.mark.faults),
        pytest.param(20, 3, "long", marks=pytest.mark.faults),
    ],
)
def test_a_search_killed_at_random_times_trains_each_trial_once(tmp_path, kills, processes, size, record_property):
    seen = result_of(__file__, tmp_path, kills, 0, processes, size)
    trials = f"{seen['once']} of {seen['trials']} trials trained once, {seen['in_mid_trial']} kills in mid-trial"
    same = f"{seen['same']} of {seen['searches']} searches with the same trials and the same best as undisturbed"
    record_property("says", f"{seen['kills']} kills of {processes} processes with a search ({seen['by']}); {trials}")
    record_property("says", same if processes == 1 else f"{seen['complete']} of {seen['searches']} searches complete")
    assert seen["kills"] >= kills and (seen["in_mid_trial"] > 0 or kills < 20)
    assert seen["once"] == seen["trials"] > 0 and seen["complete"] == seen["searches"] > 0
    assert seen["same"] == seen["searches"] or processes > 1


def run(folder, size):
    """Run the search in this process, in a run log of this folder; return its table."""
    os.environ.update(COURSEWORK_RUNS=str(folder), CI="1")
    with contextlib.redirect_stdout(io.StringIO()):
        return run_search(SLOW_RECIPE.change(num_epochs=4), SPACE, trials=TRIALS[size], prune=True, **FOR_TRIALS)


def kill_until(top, kills, seed, processes, size):
    """Kill so many processes, with a new run log whenever the search is done; return what was seen."""
    clock, seen = random.Random(seed), dict.fromkeys(SEEN, 0)
    if importlib.util.find_spec("optuna"):
        import optuna  # noqa: F401 - once, here: the children inherit it
    begun = time.monotonic()
    expected = run(top / "whole", size)
    length = time.monotonic() - begun
    expected_log = lines(top / "whole")
    while seen["kills"] < kills:
        folder = top / str(seen["searches"])
        work = functools.partial(run, folder, size)
        seen["kills"] += kill_until_done(work, processes, kills - seen["kills"], length / 3, clock)
        table, log = run(folder, size), lines(folder)  # a look: nothing is left to do
        check(folder, table, log, seen)
        best = table[table["state"] == "finished"]["val_acc"].idxmax()
        same_best = best == expected[expected["state"] == "finished"]["val_acc"].idxmax()
        columns = [*SPACE, "state", "val_acc", "epochs"]
        seen["same"] += same_best and log == expected_log and table[columns].equals(expected[columns])
        seen["by"] = log["proposal"][0]["by"]
    return seen


SEEN = ("searches", "kills", "trials", "once", "complete", "same", "in_mid_trial")


def lines(folder):
    """Return the lines of the search in a run log, without the times."""
    (path,) = folder.glob("search-*")
    kinds = {kind: SearchLog(path).read(kind) for kind in ("proposal", "decision", "failure")}
    return {
        kind: {key: {name: value for name, value in line.items() if name != "when"} for key, line in found.items()}
        for kind, found in kinds.items()
    }


def check(folder, table, log, seen):
    """Count what the runs of a search tell: trained once, ended, resumed; and whether the log is complete."""
    numbers = list(range(len(table)))
    knew_all = all(sorted(line["based_on"] + line["beside"]) == numbers[:n] for n, line in log["proposal"].items())
    pruned = {trial for (trial, _), line in log["decision"].items() if line["pruned"]}
    as_decided = set(table.index[table["state"] == "pruned"]) == pruned
    ended = set(table["state"]) <= {"finished", "pruned"}
    seen["complete"] += sorted(log["proposal"]) == numbers and knew_all and as_decided and ended
    seen["searches"] += 1
    for name in set(table["run"]):
        run = Run(folder / name)
        ends = [attempt.get("how") for attempt in run.record["attempts"]]
        epochs = [row["epoch"] for row in run.rows]
        seen["trials"] += 1
        seen["once"] += ends.count("finished") == 1 and epochs == list(range(1, len(epochs) + 1))
        seen["in_mid_trial"] += None in ends


if __name__ == "__main__":
    torch.set_num_threads(1)  # before anything is computed: a process with threads must not fork
    print(json.dumps(kill_until(pathlib.Path(sys.argv[1]), *map(int, sys.argv[2:5]), sys.argv[5]), default=int))
