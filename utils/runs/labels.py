"""Short texts that tell runs apart: `label_runs(all_runs())` returns labels such as "lr 0.02, seed 2"."""

from __future__ import annotations

import collections
import json
import re

from utils.runs.run import Run

LABEL_SETTINGS = 3  # a label contains at most this many settings
# With an effort in multiply-adds, a larger network gets fewer images: this does not count as a second change.
DEPENDENT = "images"
DIGEST = re.compile(r"-[0-9a-f]{8}$")  # the end of the name of a recipe's run


def label_runs(runs: list[Run]) -> dict[str, str]:
    """Return {run's name: label}: the system if there are several, and the settings that differ within the system.

    If many settings differ, a label contains those in which the run differs from most others. Runs by hand keep their
    names, which their users have chosen.
    """
    systems = collections.defaultdict(list)
    for run in runs:
        systems[None if run.is_by_hand else run.record.get("system")].append(run)
    labels = {run.name: run.name for run in systems.pop(None, ())}
    for system, same in systems.items():
        is_one_of_several = len(systems) > 1 or bool(labels)
        for run, changes in zip(same, _changes(same), strict=True):
            parts = [system, *changes] if is_one_of_several or not changes else changes
            labels[run.name] = ", ".join(parts)
    counts = collections.Counter(labels.values())
    for name, label in labels.items():
        if counts[label] > 1:
            labels[name] = name if label in systems else f"{label} ({name})"
    return labels


def _changes(runs):
    """Return for each run the texts of the settings that tell it from the others."""
    every = [run.settings | {"seed": run.record.get("seed")} for run in runs]
    names = dict.fromkeys(name for settings in every for name in settings)
    counts = {name: collections.Counter(_key(settings.get(name)) for settings in every) for name in names}
    differing = without_network_settings([name for name in names if len(counts[name]) > 1])
    differing = [name for name in differing if name != DEPENDENT] or differing
    texts = []
    for run, settings in zip(runs, every, strict=True):
        shown = differing
        if len(differing) > LABEL_SETTINGS:
            usual = {name: counts[name].most_common(1)[0][0] for name in differing}
            shown = [name for name in differing if name == "seed" or _key(settings.get(name)) != usual[name]]
        words = [_change_text(name, run) for name in shown[:LABEL_SETTINGS]]
        texts.append([*words, "..."] if len(shown) > LABEL_SETTINGS else words)
    return texts


def _change_text(name, run):
    text = setting_text(name, run)
    return text if name == "data" else f"{setting_title(name)} {text}"


def _key(value):
    return json.dumps(value, sort_keys=True) if isinstance(value, (dict, list)) else value


def without_network_settings(names: list[str]) -> list[str]:
    """Leave out the settings of the network if the network itself is among the names."""
    if "network" not in names:
        return names
    return [name for name in names if not name.startswith("network_settings.")]


def setting_title(name: str) -> str:
    """Return the name of a setting for readers: "weight decay" for optimizer_settings.weight_decay."""
    return name.rpartition(".")[2].replace("_", " ")


def setting_text(name: str, run: Run) -> str:
    """Return the value of a run's setting as a short text."""
    value = run.record.get("seed") if name == "seed" else run.settings.get(name)
    if name == "data":
        return run.data
    if name == "parent" and value:
        return DIGEST.sub("", value)
    if isinstance(value, list):
        items = [next(iter(item)) if isinstance(item, dict) and item else str(item).partition("(")[0] for item in value]
        return ", ".join(items) or "none"
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else str(value)
