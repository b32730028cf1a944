"""Groups of runs that differ only in their seed, and the settings in which two runs differ.

base, changes = find_ablations("last")  # all runs that differ from the newest one in a single setting
differences(runs.find("small-full-s0"), runs.find("small-full-s1"))
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import math
import statistics

import pandas as pd

from utils.data.sources import is_synthetic as is_synthetic_source
from utils.errors import CourseworkError
from utils.runs.run import Run, all_runs, find, tested_accuracy

KINDS = {"test": "test", "val": "validation"}
LABEL_SETTINGS = 3  # a legend shows the settings that differ if there are at most this many, otherwise the runs' names
SYNTHETIC = ("drawn", "synthetic")  # names of the source of synthetic images in records
# With an effort in multiply-adds, a larger network gets fewer images: this does not count as a second change.
DEPENDENT = "images"


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs that differ only in their seed, oldest first. If some are finished, only their accuracies are used."""

    runs: tuple

    @functools.cached_property
    def settings(self) -> dict:
        """The settings that all runs of the group have in common, see run_settings."""
        return run_settings(self.runs[0])

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

    @property
    def accuracy_text(self) -> str:
        """The mean accuracy in percent, with the spread over seeds if there is one."""
        return percent_text(self.mean, self.std, len(self.accuracies))


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
    return is_synthetic_source((run.record.get("data") or {}).get("source"))


def run_accuracies(run: Run) -> dict:
    """Return a run's final accuracies, {"test": fraction, "val": fraction}, without those that were not measured."""
    rows = run.history().rows
    accuracies = {"test": tested_accuracy(run), "val": rows[-1].get("val_acc") if rows else None}
    return {kind: value for kind, value in accuracies.items() if value is not None and not math.isnan(value)}


def network_name(run: Run) -> str:
    """Return the name of a run's network: its name or import path in the recipe, or its class."""
    recipe = run.record.get("recipe")
    network = recipe.get("network") if isinstance(recipe, dict) else None
    if isinstance(network, str):
        return network
    summary = getattr(run, "network", None) or {}
    return str(summary.get("path") or summary.get("class") or "")


def run_settings(run: Run) -> dict:
    """Return all settings that a run's result depends on, except its seed: {"optimizer_settings.momentum": 0.9, ...}.

    Without a recipe not all settings are known. The run's name is then one of the settings, so that no two such runs
    count as equal.
    """
    record = run.record
    if isinstance(record.get("recipe"), dict):
        settings = _flat(record["recipe"])
        settings.pop("name", None)
    else:
        known = record.get("settings")
        settings = {"run": run.name, "network": network_name(run)} | _flat(known if isinstance(known, dict) else {})
    settings |= {name: record.get(name) for name in ("images", "protocol", "precision", "parent")}
    settings["effort"] = run.effort
    settings["data"] = (record.get("data") or {}).get("checksum")
    return settings


def _flat(fields):
    """Return a dict of dicts as one dict, {"field.entry": value}."""
    flat = {}
    for field, value in fields.items():
        if isinstance(value, dict) and field != "network":  # in the first version a network was a dict of layers
            flat |= {f"{field}.{entry}": item for entry, item in value.items()}
        else:
            flat[field] = value
    return flat


def group_runs(runs=None) -> list[Group]:
    """Return the Groups of runs that differ only in their seed; by default of all runs in the run log."""
    members = {}
    for run in all_runs() if runs is None else runs:
        key = json.dumps(run_settings(run), sort_keys=True, default=str)
        members.setdefault(key, []).append(run)
    return [Group(tuple(same)) for same in members.values()]


def differences(one, other) -> pd.DataFrame:
    """Return a table of all settings in which two runs differ, one row per setting; give a Run or its name."""
    runs = [run if isinstance(run, Run) else find(run) for run in (one, other)]
    before, after = ({"seed": run.record.get("seed")} | run_settings(run) for run in runs)
    groups = [Group((run,)) for run in runs]
    rows = {name: [setting_text(name, group) for group in groups] for name in _changed(before, after) if name != "run"}
    return pd.DataFrame.from_dict(rows, orient="index", columns=[run.name for run in runs]).rename_axis("setting")


def _changed(before, after):
    """List the names of the settings that differ; if the network differs, its settings are not listed."""
    names = [name for name in before | after if before.get(name) != after.get(name)]
    return _without_network_settings(names)


def _without_network_settings(names):
    if "network" not in names:
        return names
    return [name for name in names if not name.startswith("network_settings.")]


def only_difference(one: Group, other: Group) -> str | None:
    """Return the name of the only setting in which two groups differ, or None if there is none or several."""
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
    if base_group is None or not base_group.is_finished or "run" in base_group.settings:
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
    return Change(_title(name), setting_text(name, one), setting_text(name, other), other)


def _title(name):
    return name.rpartition(".")[2].replace("_", " ")


def setting_text(name: str, group: Group) -> str:
    """Return a setting's value as a short text."""
    record = group.runs[0].record
    value = record.get("seed") if name == "seed" else group.settings.get(name)
    if isinstance(value, dict):  # a network of the first version
        parameters = record.get("parameters")
        return f"{parameters:,} parameters" if isinstance(parameters, int) else "a network"
    if isinstance(value, list):
        items = [str(item).partition("(")[0] if name == "augment" else str(item) for item in value]
        return ", ".join(items) or "none"
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else str(value)


def label_runs(runs) -> dict:
    """Return {run's name: label}, with the settings that differ, "lr 0.02, seed 2"; or the names if too many differ."""
    names = {run.name: run.name for run in runs}
    groups = {run.name: Group((run,)) for run in runs}
    settings = {run.name: groups[run.name].settings | {"seed": run.record.get("seed")} for run in runs}
    differing = []
    for name in dict.fromkeys(itertools.chain.from_iterable(settings.values())):
        if len({json.dumps(facts.get(name), sort_keys=True, default=str) for facts in settings.values()}) > 1:
            differing.append(name)
    differing = _without_network_settings(differing)
    differing = [name for name in differing if name != DEPENDENT] or differing
    if not differing or len(differing) > LABEL_SETTINGS or "run" in differing:
        return names
    labels = {}
    for run, group in groups.items():
        labels[run] = ", ".join(f"{_title(name)} {setting_text(name, group)}" for name in differing)
    is_unique = len(set(labels.values())) == len(labels)
    return labels if is_unique else names


def percent_text(value: float | None, std: float = math.nan, seeds: int = 1) -> str:
    """Return a fraction in percent, with its standard deviation over the seeds if that is known."""
    if value is None or math.isnan(value):
        return ""
    spread = "" if math.isnan(std) else f" ± {100 * std:.2f} over {seeds} seeds"
    return f"{100 * value:.2f} %{spread}"
