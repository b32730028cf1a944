"""Groups of runs that differ only in their seed, with the mean and the spread of their accuracies.

[(group.runs[0].name, group.mean, group.std) for group in group_runs()]
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import statistics

from utils.data.sources import is_synthetic as is_synthetic_source
from utils.runs.run import Run, all_runs
from utils.runs.run_table import tested_accuracy

KINDS = {"test": "test", "val": "validation"}


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs that differ only in their seed, oldest first. If some are finished, only their accuracies are used."""

    runs: tuple

    @functools.cached_property
    def _measured(self):
        """The kind of accuracy that all of the runs have, and [(run, accuracy)]."""
        runs = [run for run in self.runs if run.state == "finished"] or self.runs
        known = {run: measured for run in runs if (measured := run_accuracies(run))}
        for kind in KINDS:
            if known and all(kind in measured for measured in known.values()):
                return kind, [(run, measured[kind]) for run, measured in known.items()]
        return None, []

    @property
    def kind(self) -> str | None:
        """The kind of the accuracies: "test" if all runs have a test accuracy, else "validation"; None without any."""
        return KINDS.get(self._measured[0])

    @property
    def accuracies(self) -> list[float]:
        """The accuracy of each run that has one, as a fraction."""
        return [accuracy for _, accuracy in self._measured[1]]

    @property
    def mean(self) -> float:
        """The mean accuracy, or NaN."""
        return statistics.fmean(self.accuracies) if self.accuracies else math.nan

    @property
    def std(self) -> float:
        """The standard deviation over seeds, or NaN if there are fewer than two."""
        return statistics.stdev(self.accuracies) if len(self.accuracies) > 1 else math.nan

    @property
    def best(self) -> tuple | None:
        """The (run, accuracy) with the highest accuracy, or None."""
        return max(self._measured[1], key=lambda pair: pair[1], default=None)


def is_synthetic(run: Run) -> bool:
    """Return whether a run was trained on synthetic images; its accuracy says nothing about CIFAR-10."""
    return is_synthetic_source((run.record.get("data") or {}).get("source"))


def run_accuracies(run: Run) -> dict:
    """Return a run's final accuracies, {"test": fraction, "val": fraction}, without those that were not measured."""
    rows = run.rows
    accuracies = {"test": tested_accuracy(run), "val": rows[-1].get("val_acc") if rows else None}
    return {kind: value for kind, value in accuracies.items() if value is not None and not math.isnan(value)}


def group_runs(runs=None) -> list[Group]:
    """Return the Groups of runs that differ only in their seed; by default of all runs in the run log."""
    members = {}
    for run in all_runs() if runs is None else runs:
        key = json.dumps(run.settings, sort_keys=True)
        members.setdefault(key, []).append(run)
    return [Group(tuple(same)) for same in members.values()]


def percent_text(value: float | None, std: float = math.nan, seeds: int = 1) -> str:
    """Return a fraction in percent, with its standard deviation over the seeds if that is known."""
    if value is None or math.isnan(value):
        return ""
    spread = "" if math.isnan(std) else f" ± {100 * std:.2f} over {seeds} seeds"
    return f"{100 * value:.2f} %{spread}"
