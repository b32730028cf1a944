"""What a search has decided, as lines of search.jsonl in its folder beside the runs: proposals, prunings, failures.

A line is written before it is acted on, and is never changed; of two lines about the same thing, the first one counts.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np

from utils.errors import CourseworkError
from utils.files import append_lines, read_lines
from utils.runs.claim import Claim
from utils.runs.training_facts import now

NAME = "search.jsonl"
FACTOR = 3  # pruning: after 1, 3, 9, ... epochs, a trial among the best third so far continues


class SearchLog:
    """The lines of a search; several processes may read and write them at the same time."""

    def __init__(self, folder):
        self.folder, self.path = Path(folder), Path(folder) / NAME

    def read(self, kind: str) -> dict:
        """Return {key: line} of the lines of a kind, "proposal", "decision" or "failure", in the order written."""
        keys = {"proposal": ("trial",), "decision": ("trial", "epoch"), "failure": ("trial",)}[kind]
        lines = {}
        for line in read_lines(self.path)[0]:
            key = tuple(line.get(name) for name in keys)
            if line.get("kind") == kind and all(isinstance(number, int) for number in key):
                lines.setdefault(key if len(key) > 1 else key[0], line)
        return lines

    def append(self, kind: str, **facts):
        """Write a line; the caller must hold the claim, since not every shared drive can append at the same time."""
        append_lines(self.path, [{"kind": kind, **facts, "when": now()}])

    @contextlib.contextmanager
    def claimed(self):
        """Let no other process write inside a with block; wait while another one does."""
        self.folder.mkdir(parents=True, exist_ok=True)
        claim = Claim(self.folder)
        while True:
            try:
                claim.take()
                break
            except CourseworkError:  # another process proposes a trial now, which takes a moment
                continue
        try:
            yield
        finally:
            claim.release()


class Pruning:
    """A callback that ends a trial early if it is not among the best third of the trials that came as far.

    This is asynchronous successive halving (ASHA, Li et al. 2020). It compares the validation accuracies after 1, 3,
    9, ... epochs. Each decision is written to the search's file first, so a trial that resumes does not decide again.
    """

    def __init__(self, log: SearchLog, trial: int):
        self.log, self.trial = log, trial

    def describe(self):
        return {"search": self.log.folder.name}  # so that no other training resumes from this trial's checkpoint

    def after_epoch(self, training):
        """Decide after the epochs 1, 3, 9, ... whether the trial continues."""
        epoch = training.epoch
        if training.complete or not is_rung(epoch):
            return
        with self.log.claimed():
            decisions = self.log.read("decision")
            if (self.trial, epoch) not in decisions:
                accuracy = training.history.rows[-1]["val_acc"]
                others = {t: line["val_acc"] for (t, e), line in decisions.items() if e == epoch}
                decision = {"val_acc": accuracy, "threshold": threshold(others.values()), "compared_with": list(others)}
                is_pruned = bool(others) and accuracy < decision["threshold"]
                self.log.append("decision", trial=self.trial, epoch=epoch, pruned=is_pruned, **decision)
            decision = self.log.read("decision")[self.trial, epoch]
        if decision["pruned"]:
            best = training.history.best("val_acc")
            facts = {"epoch": epoch, "column": "val_acc", "best": best["val_acc"], "best_epoch": best["epoch"]}
            training.history.ended_early = facts | {"pruned_by": self.log.folder.name}


def is_rung(epoch: int) -> bool:
    """Return True for the epochs 1, 3, 9, ..., after which trials are compared."""
    while epoch % FACTOR == 0:
        epoch //= FACTOR
    return epoch == 1


def threshold(accuracies) -> float | None:
    """Return the accuracy that a trial must reach to be among the best third of these; None if there is none yet."""
    accuracies = list(accuracies)
    return float(np.percentile(accuracies, 100 * (1 - 1 / FACTOR))) if accuracies else None
