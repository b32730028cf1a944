"""Compare our accuracies with those of reports A to E, together with the conditions of our runs.

Where the run log has no complete training of a recipe on real images, the committed records of results/ are used.

comparison_table(beside_reported())
"""

from __future__ import annotations

import math
import statistics

import pandas as pd

from utils.experiments.compare import KINDS, Group, group_runs, is_synthetic, percent_text
from utils.experiments.records import ORIGINAL, read_records
from utils.files import plain
from utils.recipes import Recipe
from utils.recipes.reported import SYSTEMS
from utils.recipes.tables import C_ROWS, D_ROWS
from utils.runs.run import Run

FULL = "full"  # only a training with this effort is compared with a reported figure
TABLES = {"C": C_ROWS, "D": D_ROWS}
OURS = ("ours", "kind", "mean", "std", "seeds", "data", "is_synthetic", "protocol", "effort", "epochs", "run")
OURS += ("is_complete", "measured")


def is_complete(run: Run) -> bool:
    """Return whether a run is the complete training of a recipe: finished, and with the full effort."""
    return run.effort == FULL and run.state == "finished"


def best_group(recipe: Recipe, groups: list[Group]) -> Group | None:
    """Return the group with the best run of a recipe with unchanged settings, or None.

    Real images are preferred to synthetic ones, complete trainings to others, and test accuracies to validation.
    """
    description = plain(recipe.describe())
    candidates = [group for group in groups if group.best and group.runs[0].record.get("recipe") == description]

    def rank(group):
        run, accuracy = group.best
        return not is_synthetic(run), is_complete(run), group.kind == KINDS["test"], accuracy

    return max(candidates, key=rank, default=None)


def best_records(recipe: Recipe, records: list[dict]) -> list[dict]:
    """Return the records of a recipe that differ only in their seed; the original images and watch_test come first."""
    description = plain(recipe.describe())
    groups = {}
    for record in records:
        if record["system"] == recipe.name and record["recipe"] == description:
            groups.setdefault((record["data"]["name"], record["protocol"]), []).append(record)
    best = max(groups, key=lambda key: (key[0] == ORIGINAL, key[1] == "watch_test"), default=None)
    return groups.get(best, [])


def beside_reported(groups: list[Group] | None = None, records: list[dict] | None = None) -> list[dict]:
    """Return a row for each reported system: the reported accuracy, and ours with the spread over seeds.

    Ours is the best complete run of the run log on real images, or else that of the committed records.
    """
    groups = group_runs() if groups is None else groups
    records = list(read_records().values()) if records is None else records
    rows = []
    for letter, (name, recipe) in zip("ABCDE", SYSTEMS.items(), strict=True):
        row = {"report": letter, "system": name, "title": recipe.report.partition(", ")[2].strip('"')}
        row |= {"reported": recipe.reported["test_acc"], "reported_epochs": recipe.reported.get("epochs")}
        rows.append(row | _ours(recipe, groups, records))
    return rows


def beside_table(letter: str, groups: list[Group] | None = None, records: list[dict] | None = None) -> list[dict]:
    """Return a row for each run in the table of report C or D, with our accuracy as in beside_reported."""
    groups = group_runs() if groups is None else groups
    records = list(read_records().values()) if records is None else records
    rows = []
    for reported in TABLES[letter]:
        row = {"number": reported.number, "label": reported.label, "system": reported.recipe.name}
        rows.append(row | {"reported": reported.reported["test_acc"]} | _ours(reported.recipe, groups, records))
    return rows


def _ours(recipe, groups, records):
    """Return our accuracy of a recipe and its conditions; every value is None if there is neither run nor record."""
    group = best_group(recipe, groups)
    is_result = group is not None and is_complete(group.best[0]) and not is_synthetic(group.best[0])
    recorded = [] if is_result else best_records(recipe, records)
    if recorded:
        return _from_records(recorded)
    if group is None:
        return dict.fromkeys(OURS)
    run, accuracy = group.best
    images = "test_images" if group.kind == KINDS["test"] else "watched_images"
    return {
        "ours": accuracy,
        "kind": group.kind,
        "mean": group.mean,
        "std": group.std,
        "seeds": len(group.accuracies),
        "data": run.data,
        "is_synthetic": is_synthetic(run),
        "protocol": run.record.get("protocol"),
        "effort": run.effort,
        "epochs": len(run.rows),
        "run": run.name,
        "is_complete": is_complete(run),
        "measured": run.record.get(images),
    }


def _from_records(records):
    """Return the mean accuracy of records that differ only in their seed, and its conditions."""
    record, accuracies = records[0], [record["accuracy"] for record in records]
    mean = statistics.fmean(accuracies)
    spread = statistics.stdev(accuracies) if len(accuracies) > 1 else math.nan
    return {
        "ours": mean,
        "kind": KINDS["test"],
        "mean": mean,
        "std": spread,
        "seeds": len(accuracies),
        "data": record["data"]["name"],
        "is_synthetic": False,
        "protocol": record["protocol"],
        "effort": FULL,
        "epochs": record["epochs"],
        "run": None,
        "is_complete": True,
        "measured": record["test_images"],
    }


def comparison_table(rows: list[dict]) -> pd.DataFrame:
    """Return rows of beside_reported or beside_table as a table for reading, with percentages and "not yet run"."""
    table = pd.DataFrame(rows)
    table["reported, test"] = table["reported"].map(percent_text)
    table["ours"] = [ours_text(row) for row in rows]
    table["conditions"] = [conditions_text(row) for row in rows]
    table = table.rename(columns={"number": "row", "label": "run of the table"})
    if "row" in table:
        return table.set_index("row")[["run of the table", "reported, test", "ours", "conditions"]]
    return table.set_index("report")[["system", "reported, test", "ours", "conditions"]]


def ours_text(row: dict) -> str:
    """Return our best accuracy with its kind and the spread over seeds, or "not yet run" (in full)."""
    if row["ours"] is None:
        return "not yet run"
    if not row["is_complete"]:
        return "not yet run in full"
    text = f"{percent_text(row['ours'])} {row['kind']}"
    if row["seeds"] > 1:
        text += f" ({percent_text(row['mean'], row['std'], row['seeds'])})"
    return text


def conditions_text(row: dict) -> str:
    """Return the conditions of our accuracy as text: images, protocol, effort and epochs."""
    if row["ours"] is None:
        return ""
    count = f"of {row['measured']:,} {row['kind']} images" if row["measured"] else ""
    if not row["is_complete"]:
        count = f"a short run: {percent_text(row['ours'])} {count}".strip()
    conditions = [count, row["data"]]
    for name in ("protocol", "effort"):
        if row[name]:
            conditions.append(f"{name} {row[name]}")
    conditions.append("1 epoch" if row["epochs"] == 1 else f"{row['epochs']} epochs")
    return ", ".join(condition for condition in conditions if condition)
