"""Groups of runs that differ only in their seed, and the settings in which two runs differ.

base, changes = find_ablations("last")  # all runs that differ from the newest one in a single setting
differences(runs.find("small-full-s0"), runs.find("small-full-s1"))
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import statistics

import pandas as pd

from utils.errors import CourseworkError
from utils.runs.labels import DEPENDENT, setting_text, setting_title, without_network_settings
from utils.runs.run import Run, all_runs, find
from utils.runs.run_table import tested_accuracy

KINDS = {"test": "test", "val": "validation"}


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs that differ only in their seed, oldest first. If some are finished, only their accuracies are used."""

    runs: tuple

    @property
    def settings(self) -> dict:
        """The settings that all runs of the group have in common, see Run.settings."""
        return self.runs[0].settings

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

    @functools.cached_property
    def is_finished(self) -> bool:
        """Whether the group has accuracies of finished runs, so that it can be compared with others."""
        return bool(self.accuracies) and any(run.state == "finished" for run in self.runs)


@dataclasses.dataclass(frozen=True)
class Change:
    """A group that differs from a base in exactly one setting; before and after are the two values as text."""

    setting: str
    before: str
    after: str
    group: Group

    def __str__(self):
        return f"{self.setting}: {self.after}"


def is_synthetic(run: Run) -> bool:
    """Return whether a run was trained on synthetic images; its accuracy says nothing about CIFAR-10."""
    return (run.record.get("data") or {}).get("source") == "synthetic"


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


def differences(one, other) -> pd.DataFrame:
    """Return a table of all settings in which two runs differ, one row per setting; give a Run or its name."""
    runs = [run if isinstance(run, Run) else find(run) for run in (one, other)]
    before, after = ({"seed": run.record.get("seed")} | run.settings for run in runs)
    rows = {name: [setting_text(name, run) for run in runs] for name in _changed(before, after) if name != "run"}
    return pd.DataFrame.from_dict(rows, orient="index", columns=[run.name for run in runs]).rename_axis("setting")


def _changed(before, after):
    """List the names of the settings that differ; if the network differs, its settings are not listed."""
    return without_network_settings([name for name in before | after if before.get(name) != after.get(name)])


def only_difference(one: Group, other: Group) -> str | None:
    """Return the name of the only setting in which two groups differ, or None if there is none or several.

    Of a run by hand, not all settings are known.
    """
    if one.runs[0].is_by_hand or other.runs[0].is_by_hand:
        return None
    names = _changed(one.settings, other.settings)
    # With other images, the test images differ too; and a run with a parent has been trained for longer.
    if "data" in names or "parent" in names or not names:
        return None
    if names == [DEPENDENT]:
        return DEPENDENT
    others = [name for name in names if name != DEPENDENT]
    if len(others) > 1:
        return None
    changes_macs = others[0].partition(".")[0] in ("network", "network_settings", "num_epochs")
    if DEPENDENT in names and not changes_macs:
        return None
    return others[0]


def find_ablations(base, runs=None) -> tuple[Group, list[Change]]:
    """Return (Group of the base, [Change]): the groups that differ from a run in exactly one setting.

    base is a Run or its name. Only finished runs whose accuracy is of the base's kind are compared.
    """
    base = base if isinstance(base, Run) else find(base)
    groups = group_runs(runs)
    base_group = next((group for group in groups if base.name in [run.name for run in group.runs]), None)
    if base_group is None or not base_group.is_finished or base.is_by_hand:
        what = f"{base.name} can't be the base of a comparison, because it is not a finished run of a recipe."
        raise CourseworkError(what, where=base.folder, next_step="Choose a finished run that a recipe has trained.")
    changes = [change for group in groups if (change := _change(base_group, group))]
    return base_group, sorted(changes, key=lambda change: (change.setting, change.group.mean))


def _change(one, other):
    """Return the Change from one group to another, or None if they can't be compared."""
    if not one.is_finished or not other.is_finished or one.kind != other.kind:
        return None
    name = only_difference(one, other)
    if name is None:
        return None
    return Change(setting_title(name), setting_text(name, one.runs[0]), setting_text(name, other.runs[0]), other)


def percent_text(value: float | None, std: float = math.nan, seeds: int = 1) -> str:
    """Return a fraction in percent, with its standard deviation over the seeds if that is known."""
    if value is None or math.isnan(value):
        return ""
    spread = "" if math.isnan(std) else f" ± {100 * std:.2f} over {seeds} seeds"
    return f"{100 * value:.2f} %{spread}"
