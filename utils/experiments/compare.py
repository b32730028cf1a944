"""Owns comparing runs: over seeds, one change at a time, with what was reported. Draws and changes nothing."""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
import json
import math
import operator
import statistics

import pandas as pd

from utils.errors import CourseworkError
from utils.files import plain
from utils.recipes import SYSTEMS
from utils.recipes.tables import C_ROWS, D_ROWS
from utils.runs.run import Run, all_runs, find, tested_accuracy

KINDS = {"test": "test", "val": "validation"}
FULL = "full"  # the budget of a training that may stand beside a reported figure; all others are trials
SHOWN = 3  # settings that tell runs apart in a legend; where more differ, their names are shorter
FOLLOWS = {"images"}  # what a budget in multiply-adds changes by itself where the network or the epochs are others
TABLES = {"C": C_ROWS, "D": D_ROWS}


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but their seed, oldest first; figures are of the finished ones, or of all if none."""

    runs: tuple

    @functools.cached_property
    def settings(self):
        """All that the runs have in common, as a flat dict."""
        return settings_of(self.runs[0])

    @functools.cached_property
    def _measured(self):
        done = [run for run in self.runs if run.state == "finished"] or self.runs
        known = [(run, figures) for run in done if (figures := accuracies(run))]
        kind = next((kind for kind in KINDS if known and all(kind in figures for _, figures in known)), None)
        return kind, [(run, figures[kind]) for run, figures in known] if kind else []

    @property
    def kind(self):
        """What its accuracies were measured on, "test" if all of them were, else "validation"; None if nothing was."""
        return KINDS.get(self._measured[0])

    @property
    def accuracies(self):
        """The accuracy of each run that has one, as fractions."""
        return [value for _, value in self._measured[1]]

    @property
    def mean(self):
        """The mean accuracy, or NaN."""
        return statistics.fmean(self.accuracies) if self.accuracies else math.nan

    @property
    def std(self):
        """The standard deviation over seeds, or NaN if there are not two."""
        return statistics.stdev(self.accuracies) if len(self.accuracies) > 1 else math.nan

    @property
    def best(self):
        """The (run, accuracy) that is best, or None."""
        return max(self._measured[1], key=lambda pair: pair[1], default=None)

    @functools.cached_property
    def is_done(self):
        """Tell whether it has accuracies of finished runs: others cannot be compared with."""
        return bool(self.accuracies) and any(run.state == "finished" for run in self.runs)

    @property
    def is_drawn(self):
        """Tell whether its images are the drawn ones, whose figures say nothing of CIFAR-10."""
        return is_drawn(self.runs[0])

    def in_words(self):
        """Say the accuracy in percent, with its spread if there is one."""
        return percent(self.mean, self.std, len(self.accuracies))


@dataclasses.dataclass(frozen=True)
class Change:
    """A group that differs from a base in exactly one setting; before and after are its values in words."""

    setting: str
    before: str
    after: str
    group: Group

    def __str__(self):
        return f"{self.setting}: {self.after}"


def is_drawn(run):
    """Tell whether a run was trained on the drawn images."""
    return (run.record.get("data") or {}).get("source") == "drawn"


def accuracies(run):
    """Return what a run reached, {"test": fraction, "val": fraction}, of which one, both or none are known."""
    rows, tested = run.history().rows, tested_accuracy(run)
    figures = {"test": tested, "val": rows[-1].get("val_acc") if rows else None}
    return {kind: value for kind, value in figures.items() if value is not None and value == value}


def settings_of(run):
    """Return all that a run's result depends on but its seed, as a flat dict; without a recipe, its name alone."""
    record = run.record
    recipe = record.get("recipe")
    if not isinstance(recipe, dict):
        return {"run": run.name}
    flat = {}
    for field, value in recipe.items():
        inside = isinstance(value, dict) and field != "network"
        flat |= {f"{field}.{name}": entry for name, entry in value.items()} if inside else {field: value}
    flat |= {name: record.get(name) for name in ("images", "budget", "protocol", "precision", "parent")}
    flat["data"] = (record.get("data") or {}).get("fingerprint")
    return {name: value for name, value in flat.items() if name != "name"}


def groups(found=None):
    """Return the runs, by default all on the ledger, in Groups of those that differ only in their seed."""
    together = {}
    for run in all_runs() if found is None else found:
        together.setdefault(json.dumps(settings_of(run), sort_keys=True), []).append(run)
    return [Group(tuple(same)) for same in together.values()]


def difference(one, other):
    """Return the name of the only setting in which two groups differ, or None if they differ in none or in several."""
    a, b = one.settings, other.settings
    # Other images are measured on, too; and who goes on from a parent has trained for longer.
    if any(a.get(name) != b.get(name) for name in ("data", "parent")):
        return None
    found = []
    for name in a.keys() | b.keys():
        if a.get(name) != b.get(name) and name not in FOLLOWS:
            found.append(name)
            if len(found) > 1:
                return None
    if not found:  # a budget of other images, perhaps
        found = [name for name in FOLLOWS if a.get(name) != b.get(name)]
    elif found[0] not in ("network", "num_epochs") and any(a.get(name) != b.get(name) for name in FOLLOWS):
        return None
    return found[0] if found else None


def ablations(base, found=None):
    """Return (Group of the base, [Change]): what differs from a run in exactly one setting, sorted by setting.

    base is a Run or its name; only finished runs with an accuracy of the base's kind are compared.
    """
    base = base if isinstance(base, Run) else find(base)
    every = groups(found)
    own = next((group for group in every if any(run.name == base.name for run in group.runs)), None)
    if own is None or not own.is_done or "run" in own.settings:
        next_step = "Choose a run of a recipe that is finished."
        raise CourseworkError(f"{base.name} cannot be a base to compare with.", where=base.folder, next_step=next_step)
    changes = []
    for group in every:
        if group.is_done and group.kind == own.kind and (name := difference(own, group)):
            changes.append(_change(name, own, group))
    return own, sorted(changes, key=lambda change: (change.setting, change.group.mean))


def neighbours(every):
    """Return for each of the groups its [(index of another, Change)] of those that differ in exactly one setting."""
    found = [[] for _ in every]
    for (i, one), (j, other) in itertools.combinations(enumerate(every), 2):
        if one.is_done and other.is_done and one.kind == other.kind and (name := difference(one, other)):
            found[i].append((j, _change(name, one, other)))
            found[j].append((i, _change(name, other, one)))
    return found


def _change(name, one, other):
    before, after = (in_words(name, group) for group in (one, other))
    if name == "network":
        after = _layers_changed(one.settings[name], other.settings[name]) or after
    return Change(_title(name), before, after, other)


def _title(name):
    return name.rpartition(".")[2].replace("_", " ")


def _layers_changed(before, after):
    """Say which layers one network has and the other does not, "+ 3 norm", or nothing where that would be long."""
    if not all(isinstance(network, dict) for network in (before, after)):
        return ""
    a, b = (collections.Counter(network.get("layers") or ()) for network in (before, after))
    rest = ({name: value for name, value in network.items() if name != "layers"} for network in (before, after))
    changes = [f"{sign} {n} {layer}" for sign, some in (("+", b - a), ("-", a - b)) for layer, n in some.items()]
    return ", ".join(changes) if operator.eq(*rest) and len(changes) <= 2 else ""


def in_words(name, group):
    """Say a setting's value shortly."""
    value = group.runs[0].record.get("seed") if name == "seed" else group.settings.get(name)
    if name == "network":
        count = group.runs[0].record.get("parameters")
        return f"{count:,} parameters" if isinstance(count, int) else "a network"
    if isinstance(value, list):
        return ", ".join(str(item).partition("(")[0] if name == "augment" else str(item) for item in value) or "none"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def labels(found):
    """Return {run's name: what tells it from the others, "lr 0.02, seed 2", or the name where that would be long}."""
    alone = {run.name: Group((run,)) for run in found}
    every = {name: group.settings | {"seed": group.runs[0].record.get("seed")} for name, group in alone.items()}
    names = dict.fromkeys(itertools.chain.from_iterable(every.values()))
    values = {name: {json.dumps(facts.get(name), sort_keys=True) for facts in every.values()} for name in names}
    differing = [name for name in names if len(values[name]) > 1]
    differing = [name for name in differing if name not in FOLLOWS] or differing
    if not differing or len(differing) > SHOWN or "run" in names:
        return {name: name for name in alone}
    words = {name: [f"{_title(key)} {in_words(key, group)}" for key in differing] for name, group in alone.items()}
    said = {name: ", ".join(parts) for name, parts in words.items()}
    return said if len(set(said.values())) == len(said) else {name: name for name in alone}


def best_of(recipe, every):
    """Return the group with the best run of a recipe as it stands, or None; a run with other settings is none of it.

    Real images come before drawn ones, full trainings before trials, and test images before those held out.
    """
    described = plain(recipe.describe())
    own = [group for group in every if group.best and group.runs[0].record.get("recipe") == described]

    def worth(group):
        run, accuracy = group.best
        return not group.is_drawn, not is_trial(run), group.kind == KINDS["test"], accuracy

    return max(own, key=worth, default=None)


def is_trial(run):
    """Tell whether a run is not its recipe's whole training: a smaller budget, or not finished."""
    return run.record.get("budget") != FULL or run.state != "finished"


def beside_reported(every=None):
    """Return a row a reported system: what its report gives, and our best run of it with the spread over its seeds."""
    every = groups() if every is None else every
    return [
        {"report": letter, "system": name, "title": recipe.report.partition(", ")[2].strip('"')}
        | {"reported": recipe.reported["test_acc"], "reported_epochs": recipe.reported.get("epochs")}
        | ours(best_of(recipe, every))
        for letter, (name, recipe) in zip("ABCDE", SYSTEMS.items(), strict=True)
    ]


def beside_table(letter, every=None):
    """Return a row for each run of report C's or D's table, with our best run of its recipe."""
    every = groups() if every is None else every
    return [
        {"number": row.number, "label": row.label, "system": row.recipe.name, "reported": row.reported["test_acc"]}
        | ours(best_of(row.recipe, every))
        for row in TABLES[letter]
    ]


def ours(group):
    """Return what a group gives for the column beside a reported figure; all is None if nothing was run yet."""
    names = ("ours", "kind", "mean", "std", "seeds", "data", "is_drawn", "protocol", "budget", "epochs", "run")
    names += ("is_trial", "measured")
    if group is None:
        return dict.fromkeys(names)
    run, accuracy = group.best
    record = run.record
    values = (accuracy, group.kind, group.mean, group.std, len(group.accuracies), run.data, group.is_drawn)
    values += (record.get("protocol"), record.get("budget"), len(run.history()), run.name)
    values += (is_trial(run), record.get("test_images" if group.kind == KINDS["test"] else "watched_images"))
    return dict(zip(names, values, strict=True))


def frame(rows):
    """Return rows of beside_reported or beside_table as a table to read: percentages, and "not yet run"."""
    names = {"report": "report", "number": "row", "system": "system", "label": "run of the table"}
    names = {name: title for name, title in names.items() if name in rows[0]}
    names = {name: title for name, title in names.items() if not (name == "system" and "label" in names)}
    lines = []
    for row in rows:
        line = {title: row[name] for name, title in names.items()} | {"reported, test": percent(row["reported"])}
        lines.append(line | {"ours": ours_in_words(row), "of": circumstances(row)})
    return pd.DataFrame(lines).set_index(next(iter(names.values())))


def ours_in_words(row):
    """Say our best figure, what it was measured on, and the spread over seeds; or that there is none of a full run."""
    if row["ours"] is None or row["is_trial"]:
        return "not yet run" if row["ours"] is None else "not yet run in full"
    words = f"{percent(row['ours'])} {row['kind']}"
    spread = percent(row["mean"], row["std"], row["seeds"])
    return f"{words} ({spread})" if row["seeds"] > 1 else words


def circumstances(row):
    """Say of how many images our figure is, of which, under which protocol and budget, and after how many epochs."""
    if row["ours"] is None:
        return ""
    count = f"{row['measured']:,} {row['kind']} images" if row["measured"] else None
    trial = " of ".join(part for part in (f"a trial: {percent(row['ours'])}", count) if part)
    epochs = f"{row['epochs']} epoch{'s' * (row['epochs'] != 1)}"
    protocol = f"protocol {row['protocol']}" if row["protocol"] else None
    budget = f"budget {row['budget']}" if row["budget"] else None
    first = trial if row["is_trial"] else count and f"of {count}"
    return ", ".join(str(part) for part in (first, row["data"], protocol, budget, epochs) if part)


def percent(value, std=math.nan, seeds=1):
    """Say a fraction in percent, with its standard deviation over so many seeds if that is known."""
    if value is None or value != value:
        return ""
    return f"{100 * value:.2f} %" + (f" ± {100 * std:.2f} over {seeds} seeds" if std == std else "")
