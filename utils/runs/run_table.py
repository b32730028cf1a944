"""The run log as a table: `table()`, and the accuracies of a run."""

from __future__ import annotations

import pandas as pd

from utils.runs.labels import label_runs
from utils.runs.run import Run, all_runs

SETTLED = 0.01  # from the time to convergence on, no epoch's accuracy is more than this below the best one
NOT_A_NUMBER = float("nan")


def table(folder=None):
    """Return all runs as a table, one row per run, newest last.

    label: the settings that tell the run from the others of its system. problem: why an unreadable run can't be read.
    ms_per_iteration: the time of an epoch, including the measurement after it, divided by its batches. settled_s: the
    time to convergence, in seconds; from then on the watched accuracy stays within one point of its best. error_rate:
    on the test images if they were measured, else on the watched images after the last epoch.
    """
    return pd.DataFrame(rows(all_runs(folder)), columns=COLUMNS).set_index("run")


# experiments/page.py lists the columns of the comparison page.
COLUMNS = (
    *("run", "label", "system", "state", "data", "protocol", "seed", "effort", "epochs", "of", "val_acc"),
    *("best_val_acc", "test_acc", "test_acc_tta", "error_rate", "ms_per_iteration", "settled_s", "parameters"),
    *("macs", "lr", "batch_size", "optimizer", "schedule", "images", "seconds", "device", "attempts", "faults"),
    *("bad_lines", "parent", "sweep", "created", "problem"),
)


def rows(runs) -> list[dict]:
    """Return the rows of several runs, with labels that tell them apart."""
    labels = label_runs(runs)
    return [row(run) | {"label": labels[run.name]} for run in runs]


def row(run):
    """Return a run's row of the table, as a dict with all COLUMNS."""
    record, history = run.record, run.history()
    settings = record.get("settings") or {}
    values = {name: (record | settings).get(name) for name in COLUMNS}
    last = history.rows[-1] if history.rows else {}
    watched = f"{run.watched}_acc"
    best = history.best("val_acc") if any("val_acc" in row for row in history.rows) else {}
    seconds = last.get("seconds", NOT_A_NUMBER)
    batches = last.get("epoch", 0) * (record.get("batches") or NOT_A_NUMBER)  # also those of epochs with lost lines
    tested, averaged = tested_accuracy(run), tta_accuracy(run)
    measured = tested if tested is not None else last.get(watched, NOT_A_NUMBER)
    return values | {
        "run": run.name,
        "label": run.title,
        "system": record.get("system"),
        "effort": run.effort,
        "state": run.state,
        "problem": run.problem,
        "data": run.data,
        "epochs": len(history),
        "of": record.get("num_epochs"),
        "val_acc": last.get("val_acc", NOT_A_NUMBER),
        "best_val_acc": best.get("val_acc", NOT_A_NUMBER),
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
    single = [test.get("accuracy") for test in tests if test.get("views") == "plain"]
    watched = [run.rows[-1].get("test_acc")] if run.rows else []
    known = [accuracy for accuracy in (*single[-1:], *watched) if accuracy is not None]
    return known[0] if known else None


def tta_accuracy(run: Run) -> float | None:
    """Return the newest test accuracy with test-time augmentation (TTA), or None if it was not measured."""
    averaged = [test for test in run.record.get("tests") or () if (test.get("views") or "plain") != "plain"]
    return averaged[-1].get("accuracy") if averaged else None


def settled(history, column):
    """Return the time to convergence: the seconds after which no accuracy was over one point below the best, or NaN."""
    rows = [row for row in history.rows if column in row and row[column] == row[column]]
    if not rows:
        return NOT_A_NUMBER
    least = max(row[column] for row in rows) - SETTLED
    first = next((i for i in reversed(range(len(rows))) if rows[i][column] < least), -1) + 1
    return rows[first].get("seconds", NOT_A_NUMBER) if first < len(rows) else NOT_A_NUMBER
