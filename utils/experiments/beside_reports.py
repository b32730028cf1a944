"""Compare our accuracies with those of reports A to E, together with the conditions of our runs.

comparison_table(beside_reported())
"""

from __future__ import annotations

import pandas as pd

from utils.experiments.compare import KINDS, Group, group_runs, is_synthetic, percent_text
from utils.files import plain
from utils.recipes import Recipe
from utils.recipes.reported import SYSTEMS
from utils.recipes.tables import C_ROWS, D_ROWS
from utils.runs.run import Run

FULL = "full"  # only a training with this effort is compared with a reported figure
TABLES = {"C": C_ROWS, "D": D_ROWS}
OURS = ("ours", "kind", "mean", "std", "seeds", "data", "is_synthetic", "protocol", "effort", "epochs", "run")
OURS += ("is_complete", "measured")


def _is_run_of(run, recipe, description):
    """Return whether a run trained exactly this recipe; description is the recipe in the form of a record."""
    recorded = run.record.get("recipe") or {}
    if recorded == description:
        return True
    if not isinstance(recorded.get("network"), dict):
        return False
    # The first version recorded a network layer by layer. For its runs, the multiply-adds are compared.
    recorded = {name: value for name, value in recorded.items() if "network" not in name}
    description = {name: value for name, value in description.items() if "network" not in name}
    return recorded == description and run.record.get("macs") == recipe.macs()


def is_complete(run: Run) -> bool:
    """Return whether a run is the complete training of a recipe: finished, and with the full effort."""
    return run.effort == FULL and run.state == "finished"


def best_group(recipe: Recipe, groups: list[Group]) -> Group | None:
    """Return the group with the best run of a recipe with unchanged settings, or None.

    Real images are preferred to synthetic ones, complete trainings to others, and test accuracies to validation.
    """
    description = plain(recipe.describe())
    candidates = [group for group in groups if group.best and _is_run_of(group.runs[0], recipe, description)]

    def rank(group):
        run, accuracy = group.best
        return not is_synthetic(run), is_complete(run), group.kind == KINDS["test"], accuracy

    return max(candidates, key=rank, default=None)


def beside_reported(groups: list[Group] | None = None) -> list[dict]:
    """Return a row for each reported system: the reported accuracy, and our best run with the spread over seeds."""
    groups = group_runs() if groups is None else groups
    rows = []
    for letter, (name, recipe) in zip("ABCDE", SYSTEMS.items(), strict=True):
        row = {"report": letter, "system": name, "title": recipe.report.partition(", ")[2].strip('"')}
        row |= {"reported": recipe.reported["test_acc"], "reported_epochs": recipe.reported.get("epochs")}
        rows.append(row | _ours(recipe, groups))
    return rows


def beside_table(letter: str, groups: list[Group] | None = None) -> list[dict]:
    """Return a row for each run in the table of report C or D, with our best run of its recipe."""
    groups = group_runs() if groups is None else groups
    rows = []
    for reported in TABLES[letter]:
        row = {"number": reported.number, "label": reported.label, "system": reported.recipe.name}
        rows.append(row | {"reported": reported.reported["test_acc"]} | _ours(reported.recipe, groups))
    return rows


def _ours(recipe, groups):
    """Return the accuracy and the conditions of our best run of a recipe; every value is None if there is no run."""
    group = best_group(recipe, groups)
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
