"""Writes the tables of results in README.md and results/README.md, from the records in results/accuracy/ alone.

python -m tools.pages               write the tables
python -m tools.pages --check       write nothing; fail where a page is not that of the records
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
from pathlib import Path

import pandas as pd

from tools.command import command
from tools.marks import filled
from utils.experiments.intervals import t_interval
from utils.experiments.records import (
    CHOICE_RESULTS,
    ORIGINAL,
    RESULTS,
    fastest_machine,
    group_records,
    median_seconds,
    read_records,
)
from utils.files import plain
from utils.recipes import ABLATIONS, CHOICES, GATED, OURS, SYSTEMS, WITHOUT_GATE, WITHOUT_SOFTMAX
from utils.recipes.tables import C_ROWS, D_ROWS
from utils.report.formats import duration

ROOT = Path(__file__).resolve().parents[1]
NO_BREAK = "\u00a0"  # a space at which no line is broken
NOT_RUN = "not yet run"
ACCURACY = "ours, test"
HELD_OUT = "held-out images"  # the heading of that column in the table of what was tried
COLUMNS = ("", "reported", ACCURACY, "images", "protocol", "seeds", "epochs", "time", "on")
# A column that is the same in all rows is left out; a sentence below the table says it under this name.
NAMES_BELOW = {"images": "Images", "protocol": "Protocol", "seeds": "Seeds", "on": "Machine"}
PROTOCOLS = {"validation": "validation split", "watch_test": "test set watched", "train_on_all": "tested once"}


@command
def main(arguments=None):
    """Write the tables into both pages, or check that they are up to date."""
    parser = argparse.ArgumentParser(prog="python -m tools.pages", description=main.__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail where a page is out of date")
    options = parser.parse_args(arguments)
    texts = pages()
    stale = [path for path, text in texts.items() if path.read_text(encoding="utf-8") != text]
    for path in stale:
        if options.check:
            print(f"{path.relative_to(ROOT)}: out of date, run make results")
        else:
            path.write_text(texts[path], encoding="utf-8", newline="\n")
            print(f"{path.relative_to(ROOT)}: written")
    return 1 if options.check and stale else 0


def pages(records=None, tried=None):
    """Return {path: text} of the two pages, their tables made from the records; tried: those of held-out images."""
    if records is None:
        records = list(read_records().values())
    if tried is None:
        tried = list(read_records(CHOICE_RESULTS).values())
    originals = [record for record in records if record["data"]["name"] == ORIGINAL]
    others = [record for record in records if record["data"]["name"] != ORIGINAL]
    readme, page = ROOT / "README.md", RESULTS.parent / "README.md"
    tables = {
        "results": results_table(originals),
        "ablations": ablation_table(originals),
        "report C": report_table(C_ROWS, originals),
        "report D": report_table(D_ROWS, originals),
        "choices": choice_table(tried),
        "other images": tables_of_other_images(others),
    }
    readme_text = filled(readme.read_text(encoding="utf-8"), "results", short_table(originals), readme)
    page_text = page.read_text(encoding="utf-8")
    for name, table in tables.items():
        page_text = filled(page_text, name, table, page)
    return {readme: readme_text, page: page_text}


def short_table(records):
    """Return README's table: each system once, and what was not measured yet.

    Several protocols or kinds of machine: the reports' own protocol comes first, then the one with the most seeds.
    """
    rows, missing = [], []
    for title, recipe in systems():
        groups = group_records([record for record in records if is_of(record, recipe)])
        if not groups:
            missing.append(f"`{recipe.name}`")
            continue
        best = max(groups, key=lambda group: (group[0]["protocol"] == "watch_test", len(group)))
        rows.append(short_row(title, recipe, best))
    texts = []
    if rows:
        lines = ["| | report | single prediction | with TTA | seeds | time |", "|---|---:|---:|---:|---:|---|"]
        texts.append("\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]))
    if missing:
        texts.append(f"Not measured on the original images yet: {', '.join(missing)}.")
    return "\n\n".join(texts) + "\n"


def short_row(title, recipe, group):
    """Return the cells of a row of README's table."""
    figures = measured_figures(group)
    single = accuracies(group, "plain_accuracy")
    with_views = accuracies(group, "accuracy") if recipe.views != "plain" else ""
    reported = percent(recipe.reported["test_acc"]) if recipe.reported else ""
    is_timed = any(not record.get("beside") for record in group)
    time = figures["time"] if is_timed else "not timed alone yet"
    return [title, reported, single, with_views, figures["seeds"], f"{time}, {figures['on']}"]


def accuracies(group, name):
    """Return "89.03 ± 0.20 %" of the accuracies with this name."""
    values = [100 * record[name] for record in group]
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.2f}{spread}{NO_BREAK}%"


def tables_of_other_images(records):
    """Return the tables of the records of other images, such as the JPEG copies, or a sentence if there are none."""
    rows_of_c = [(f"{row.number} {row.label}", row.recipe) for row in C_ROWS]
    tables = {"The systems": systems(), "The gate": with_ablations(), "Report C's table": rows_of_c}
    texts = []
    for heading, titled in tables.items():
        rows = [row for title, recipe in titled for row in rows_of(title, recipe, records)]
        rows = [row for row in rows if row[ACCURACY] != NOT_RUN]
        if titled == systems():
            rows += rows_of_rivals(records)
        if rows:
            texts.append(f"### {heading}\n\n{markdown_table(rows)}")
    return "\n".join(texts) or "No such row is left.\n"


def systems():
    """Return [(title, recipe)] of the reports' systems and ours."""
    titles = [(f"{letter} `{name}`", recipe) for letter, (name, recipe) in zip("ABCDE", SYSTEMS.items(), strict=True)]
    titles.insert(2, (f"B `{WITHOUT_SOFTMAX.name}`", WITHOUT_SOFTMAX))
    return titles + [(f"ours: `{name}`", recipe) for name, recipe in OURS.items()]


def with_ablations():
    """Return [(title, recipe)] of each recipe that has ablations, followed by them."""
    return [(f"`{recipe.name}`", recipe) for base in GATED for recipe in (base, *WITHOUT_GATE[base.name])]


def results_table(records):
    """Return the table of the reports A to E, our recipes and their rivals, and what the comparison with those says."""
    rows = [row for title, recipe in systems() for row in rows_of(title, recipe, records)]
    rows += rows_of_rivals(records)
    rows.sort(key=lambda row: row[ACCURACY] == NOT_RUN)  # what was not run comes last
    return markdown_table(rows) + markdown_list(comparisons_with_rivals(records))


def ablation_table(records):
    """Return the table of each recipe that has ablations, with its ablations, and how they compare."""
    rows = [row for title, recipe in with_ablations() for row in rows_of(title, recipe, records)]
    return markdown_table(rows) + markdown_list(comparisons_of_ablations(records))


def report_table(table_rows, records):
    """Return the table of the recipes that a report compares."""
    rows = [row for each in table_rows for row in rows_of(f"{each.number} {each.label}", each.recipe, records)]
    if all(row[ACCURACY] == NOT_RUN for row in rows):
        return f"None of its {len(rows)} rows has been run yet.\n"
    return markdown_table(rows)


def choice_table(records):
    """Return the table of what was tried on held-out images, those of the original CIFAR-10 only."""
    rows, records = [], [record for record in records if record["data"]["name"] == ORIGINAL]
    for system, alternatives in CHOICES.items():
        rows += [
            row for text, recipe in alternatives.items() for row in rows_of(f"`{system}`: {text}", recipe, records)
        ]
    return markdown_table(rows).replace(ACCURACY, HELD_OUT, 1)


def rows_of(title, recipe, records):
    """Return a row for each protocol, kind of images and kind of device that a recipe ran with, or one for none."""
    row = {"": title, "reported": reported_figures(recipe)}
    of_recipe = [record for record in records if is_of(record, recipe)]
    rows = [row | measured_figures(group) for group in group_records(of_recipe)]
    return rows or [row | {ACCURACY: NOT_RUN}]


def rows_of_rivals(records):
    """Return the rows of everything that is somebody else's code."""
    names = dict.fromkeys(record["system"] for record in records if "rival" in record)
    return [row for name in names for row in rows_of_rival(name, records)]


def rows_of_rival(name, records):
    """Return a row for each kind of images and kind of device that somebody else's code ran with."""
    of_rival = [record for record in records if record["system"] == name and "rival" in record]
    published = of_rival[0]["rival"]
    accuracy = percent(published["accuracy"])
    reported = f"{accuracy} on the original, {duration(published['seconds'])}, {published['on']}"
    row = {"": f"[{name}]({published['address']})", "reported": reported}
    return [row | measured_figures(group) for group in group_records(of_rival)]


def is_of(record, recipe):
    """Tell whether a record is of a recipe as it is today, with the same test-time augmentation."""
    return record.get("recipe") == plain(recipe.describe()) and record["views"] == recipe.views


def reported_figures(recipe):
    """Return what a report gives for its recipe, or None for one of ours."""
    if not recipe.reported:
        return None
    accuracy = percent(recipe.reported["test_acc"])
    epochs = recipe.reported.get("epochs")
    return f"{accuracy}, {epochs} epochs" if epochs else accuracy


def measured_figures(group):
    """Return the cells of records that differ in their seed or machine only."""
    first = group[0]
    undisturbed = [record for record in group if not record.get("beside")]
    timed = fastest_machine(undisturbed or group)
    time = duration(median_seconds(timed))
    if not undisturbed:
        time += " at most"
    if len(timed) == 1 < len(group):
        time += " (one run)"
    return {
        ACCURACY: accuracy_with_spread(group),
        "images": first["data"]["name"],
        "protocol": PROTOCOLS[first["protocol"]],
        "seeds": str(len(group)),
        "epochs": str(first["epochs"]),
        "time": time,
        "on": machine(timed[0]["device"]),
    }


def accuracy_with_spread(group):
    """Return "**89.03** ± 0.20 % (single prediction: 87.90 %)"."""
    text = f"**{mean_points(group):.2f}**"
    if len(group) > 1:
        text += f" ± {spread_points(group):.2f}"
    text += f"{NO_BREAK}%"
    if group[0]["views"] != "plain":
        single = statistics.fmean(record["plain_accuracy"] for record in group)
        text += f" (single prediction: {percent(single, NO_BREAK)})"
    if "training_mode_accuracy" in group[0]:
        in_training_mode = statistics.fmean(record["training_mode_accuracy"] for record in group)
        text += f" (in training mode: {percent(in_training_mode, NO_BREAK)})"
    return text


def markdown_table(rows):
    """Return rows as a Markdown table without empty columns; what is the same in all of them is said below it."""
    frame = pd.DataFrame(rows, columns=COLUMNS)
    measured = frame[frame[ACCURACY] != NOT_RUN]
    alike = [name for name in NAMES_BELOW if measured[name].nunique() == 1]
    sentences = [f"{NAMES_BELOW[name]} of all rows: {measured[name].iloc[0]}." for name in alike]
    frame = frame.drop(columns=alike).dropna(axis="columns", how="all").fillna("")
    lines = [f"| {' | '.join(cells)} |" for cells in (frame.columns, *frame.to_numpy())]
    lines.insert(1, "|" + "---|" * len(frame.columns))
    if sentences:
        lines += ["", " ".join(sentences)]
    return "\n".join(lines) + "\n"


def comparisons_with_rivals(records):
    """Return sentences on our recipes beside each rival on the same machine and images."""
    groups = group_records(records)
    rivals = [group for group in groups if "rival" in group[0]]
    sentences = [comparison(group, rival) for rival in rivals for group in groups if group[0]["system"] in OURS]
    for name, adapted in {group[0]["system"]: group[0]["rival"].get("adapted") for group in rivals}.items():
        if adapted:
            sentences.append(f"`{name}` was adapted: {adapted}.")
    return sentences


def comparisons_of_ablations(records):
    """Return sentences on each ablation beside its recipe on the same machine and images."""
    groups = {name: [] for name in (*OURS, *ABLATIONS)}
    for group in group_records(records):
        groups.setdefault(group[0]["system"], []).append(group)
    sentences = []
    for base in GATED:
        for ablation in WITHOUT_GATE[base.name]:
            pairs = [(group, other) for group in groups[ablation.name] for other in groups[base.name]]
            sentences += [comparison(group, other) for group, other in pairs]
    return sentences


def comparison(group, other):
    """Return a sentence on the accuracy, time and parameters of a group beside another on a machine that both ran on.

    It is "" if there is no such machine, or if their protocols or images differ.
    """
    first, first_other = group[0], other[0]
    devices = {record["device"] for record in other}
    device = next((record["device"] for record in group if record["device"] in devices), None)
    if device is None or conditions(first) != conditions(first_other):
        return ""
    timed = undisturbed_on(device, group)
    timed_other = undisturbed_on(device, other)
    text = difference(group, other)
    if timed and timed_other:  # the times of the other trainings are upper limits only
        text += f" in {median_seconds(timed) / median_seconds(timed_other):.2f} times the time"
    if "parameters" in first and "parameters" in first_other:
        text += f", with {first['parameters'] / first_other['parameters']:.2f} times the parameters"
    names = f"`{first['system']}` against `{first_other['system']}`"
    return f"{names}, {first['data']['name']}, {machine(device)}: {text}."


def difference(group, other):
    """Return "+1.00 points (95 % interval +0.85 to +1.15)": the difference in accuracy over the common seeds."""
    accuracies = [{record["seed"]: 100 * record["accuracy"] for record in records} for records in (group, other)]
    seeds = accuracies[0].keys() & accuracies[1].keys()
    if len(seeds) < 2:
        return f"{mean_points(group) - mean_points(other):+.2f} points, by a single seed"
    mean, half = t_interval([accuracies[0][seed] - accuracies[1][seed] for seed in sorted(seeds)])
    return f"{mean:+.2f} points (95 % interval {mean - half:+.2f} to {mean + half:+.2f})"


def undisturbed_on(device, records):
    """Return the records of a device on which no other training ran at the same time."""
    return [record for record in records if record["device"] == device and not record.get("beside")]


def conditions(record):
    """Return what must be alike in two trainings, besides the machine, before they are compared."""
    return record["protocol"], record["data"]["checksum"]


def mean_points(group):
    """Return the mean accuracy over the seeds, in percent."""
    return 100 * statistics.fmean(record["accuracy"] for record in group)


def spread_points(group):
    """Return the standard deviation over the seeds in points, 0 for a single seed."""
    return 100 * statistics.stdev(record["accuracy"] for record in group) if len(group) > 1 else 0.0


def machine(device):
    """Return the name of a record's device without the software, and without the memory of a GPU."""
    return re.sub(r" \(\d+ GiB\)", "", device.partition(", torch")[0])


def percent(fraction, space=" "):
    """Return a fraction as a percentage."""
    return f"{100 * fraction:.2f}{space}%"


def markdown_list(sentences):
    """Return a Markdown list, after an empty line, of the sentences that are not empty."""
    items = [f"- {sentence}\n" for sentence in sentences if sentence]
    return "\n" + "".join(items) if items else ""


if __name__ == "__main__":
    sys.exit(main())
