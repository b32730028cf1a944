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
    gate_differences,
    group_records,
    median_seconds,
    ran_on_cpu,
    read_records,
)
from utils.files import plain
from utils.recipes import ABLATIONS, CHOICES, GATED, OURS, SYSTEMS, WITHOUT_GATE, WITHOUT_SOFTMAX
from utils.recipes.tables import C_ROWS, D_ROWS
from utils.report.formats import duration

ROOT = Path(__file__).resolve().parents[1]
NO_BREAK = "\u00a0"  # a space at which no line is broken
SINGLE, AVERAGED = "single prediction", "with TTA"
COLUMNS = ("", "reported", SINGLE, AVERAGED, "in training mode", "images", "protocol", "seeds", "epochs", "time", "on")
# A column that is the same in all rows is left out; a sentence below the table says it under this name.
NAMES_BELOW = {"images": "Images", "protocol": "Protocol", "seeds": "Seeds", "on": "Machine"}
WITHOUT = {  # of a gate
    "one branch": "minus one branch",
    "constant gate": "minus equal weights",
    "blind gate": "minus learned weights that are the same for all images",
}
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


def pages():
    """Return {path: text} of the two pages, their tables made from the records."""
    records, tried = list(read_records().values()), list(read_records(CHOICE_RESULTS).values())
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
    readme_text = filled(readme_text, "gate", gate_table(originals), readme)
    page_text = page.read_text(encoding="utf-8")
    for name, table in tables.items():
        page_text = filled(page_text, name, table, page)
    return {readme: readme_text, page: page_text}


def short_table(records):
    """Return README's table: each system that was measured, once.

    Several protocols or kinds of machine: the reports' own protocol comes first, then the one with the most seeds.
    """
    rows = []
    for title, recipe in systems():
        groups = group_records([record for record in records if is_of(record, recipe)])
        if groups:
            best = max(groups, key=lambda group: (group[0]["protocol"] == "watch_test", len(group)))
            figures = measured_figures(best)
            reported = percent(recipe.reported["test_acc"]) if recipe.reported else None
            kept = ("", "reported", SINGLE, AVERAGED, "seeds", "time", "on")
            rows.append({name: (figures | {"": title, "reported": reported})[name] for name in kept})
    return markdown_table(rows)


def accuracies(group, name):
    """Return "89.03 ± 0.20 %" of the accuracies with this name."""
    values = [100 * record[name] for record in group]
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.2f}{spread}{NO_BREAK}%"


def tables_of_other_images(records):
    """Return the tables of the records of other images, such as the JPEG copies, or a sentence if there are none."""
    rows_of_c = [(f"{row.number} {row.label}", row.recipe) for row in C_ROWS]
    tables = {
        "The systems": rows_of_all(systems(), records),
        "Report C's table": rows_of_all(rows_of_c, records),
    }
    texts = [f"### {heading}\n\n{markdown_table(rows)}" for heading, rows in tables.items() if rows]
    return "\n".join(texts) or "No such row is left.\n"


def systems():
    """Return [(title, recipe)] of the reports' systems and ours."""
    titles = [(f"{letter} `{name}`", recipe) for letter, (name, recipe) in zip("ABCDE", SYSTEMS.items(), strict=True)]
    titles.insert(2, (f"B `{WITHOUT_SOFTMAX.name}`", WITHOUT_SOFTMAX))
    return titles + [(f"ours: `{name}`", recipe) for name, recipe in OURS.items()]


def with_ablations():
    """Return [(title, recipe)] of each recipe that has ablations, followed by them."""
    recipes = {recipe.name: recipe for base in GATED for pair in WITHOUT_GATE[base.name] for recipe in pair}
    return [(f"`{name}`", recipe) for name, recipe in recipes.items()]


def results_table(records):
    """Return the table of the reports A to E, our recipes and their rivals, and what the comparison with those says."""
    table = table_of(systems(), records, rows_of_rivals(records))
    return table + markdown_list(comparisons_with_rivals(records))


def ablation_table(records):
    """Return the table of each recipe that has ablations, with its ablations, and how they compare."""
    return table_of(with_ablations(), records) + markdown_list(comparisons_of_ablations(records))


def gate_table(records):
    """Return README's table: what each gated network gains over its versions without a gate, with intervals."""
    gains = {}  # {version: {network: gain}}
    for row in gate_differences(records).to_dict("records"):
        mean, half = t_interval(row["differences"])
        gain = f"{mean:+.2f} ({mean - half:+.2f} to {mean + half:+.2f})"
        gains.setdefault(WITHOUT[row["against"]], {})[f"`{row['network']}`"] = gain
    if not gains:
        return "This has not been measured yet.\n"
    frame = pd.DataFrame(gains).T.rename_axis("").reset_index().fillna("")
    lines = [f"| {' | '.join(cells)} |" for cells in (frame.columns, *frame.to_numpy())]
    return "\n".join([lines[0], "|" + "---|" * len(frame.columns), *lines[1:]]) + "\n"


def report_table(table_rows, records):
    """Return the table of the recipes that a report compares."""
    return table_of([(f"{row.number} {row.label}", row.recipe) for row in table_rows], records)


def choice_table(records):
    """Return the table of what was tried on held-out images, those of the original CIFAR-10 only."""
    records = [record for record in records if record["data"]["name"] == ORIGINAL]
    titled = [
        (f"`{system}`: {text}", recipe)
        for system, alternatives in CHOICES.items()
        for text, recipe in alternatives.items()
    ]
    return table_of(titled, records)


def table_of(titled, records, further_rows=()):
    """Return the table of those of the [(title, recipe)] that were measured, and a sentence on the others."""
    rows = [*rows_of_all(titled, records), *further_rows]
    measured = {row[""] for row in rows}
    missing = [title for title, _ in titled if title not in measured]
    texts = [markdown_table(rows)] if rows else []
    if missing:  # a few are named, many are counted
        is_few = len(missing) < 10
        text = f"Not measured yet: {', '.join(missing)}." if is_few else f"{len(missing)} rows are not measured yet."
        texts.append(f"{text}\n")
    return "\n".join(texts)


def rows_of_all(titled, records):
    """Return the rows of each (title, recipe)."""
    return [row for title, recipe in titled for row in rows_of(title, recipe, records)]


def rows_of(title, recipe, records):
    """Return a row for each protocol, kind of images and kind of device that a recipe ran with."""
    row = {"": title, "reported": reported_figures(recipe)}
    of_recipe = [record for record in records if is_of(record, recipe)]
    return [row | measured_figures(group) for group in group_records(of_recipe)]


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
    time, where = None, machines(group)  # beside another program, a training takes longer than it would
    if undisturbed(group):
        timed = fastest_machine(undisturbed(group))
        time, where = duration(median_seconds(timed)), machine(timed[0]["device"])
        if len(timed) == 1 < len(group):
            time += " (one run)"
    return {
        SINGLE: accuracies(group, "plain_accuracy"),
        AVERAGED: accuracies(group, "accuracy") if first["views"] != "plain" else None,
        "in training mode": accuracies(group, "training_mode_accuracy") if "training_mode_accuracy" in first else None,
        "images": first["data"]["name"],
        "protocol": PROTOCOLS[first["protocol"]],
        "seeds": str(len(group)),
        "epochs": str(first["epochs"]),
        "time": time,
        "on": where,
    }


def markdown_table(rows):
    """Return rows as a Markdown table without empty columns; what is the same in all of them is said below it."""
    frame = pd.DataFrame(rows, columns=[name for name in COLUMNS if any(name in row for row in rows)])
    alike = [name for name in NAMES_BELOW if name in frame and frame[name].nunique() == 1]
    sentences = [f"{NAMES_BELOW[name]} of all rows: {frame[name].iloc[0]}." for name in alike]
    frame = frame.drop(columns=alike).dropna(axis="columns", how="all").fillna("")
    lines = [f"| {' | '.join(cells)} |" for cells in (frame.columns, *frame.to_numpy())]
    lines.insert(1, "|" + "---|" * len(frame.columns))
    if sentences:
        lines += ["", " ".join(sentences)]
    return "\n".join(lines) + "\n"


def comparisons_with_rivals(records):
    """Return sentences on `fast`, our answer to these rivals, beside each of them, and on how each was adapted."""
    groups = group_records(records)
    rivals = [group for group in groups if "rival" in group[0]]
    ours = [group for group in groups if group[0]["system"] == "fast"]
    # With TTA, because the authors of these records count so.
    sentences = [comparison(group, rival, "accuracy") for rival in rivals for group in ours]
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
        for gated, without in WITHOUT_GATE[base.name]:
            pairs = [(group, other) for group in groups[without.name] for other in groups[gated.name]]
            sentences += [comparison(group, other, "plain_accuracy") for group, other in pairs]
    return sentences


def comparison(group, other, accuracy):
    """Return a sentence on this accuracy, time and parameters of a group beside another, over the seeds of both.

    It is "" if their protocols or images differ, or if one ran on a CPU and the other on a GPU. The times are those of
    a machine on which both ran undisturbed; if there is none, the sentence has no times.
    """
    first, first_other = group[0], other[0]
    if conditions(first) != conditions(first_other):
        return ""
    text = difference(group, other, accuracy)
    timed, timed_other = undisturbed(group), undisturbed(other)
    shared = [record["device"] for record in timed if record["device"] in {other["device"] for other in timed_other}]
    if shared:
        seconds = [
            median_seconds([record for record in records if record["device"] == shared[0]])
            for records in (timed, timed_other)
        ]
        text += f" in {seconds[0] / seconds[1]:.2f} times the time ({machine(shared[0])})"
    if "parameters" in first and "parameters" in first_other:
        text += f", with {first['parameters'] / first_other['parameters']:.2f} times the parameters"
    return f"`{first['system']}` against `{first_other['system']}`: {text}."


def difference(group, other, accuracy):
    """Return "+1.00 points (95 % interval +0.85 to +1.15, seeds 0, 1, 2)": the mean over the common seeds, in pairs."""
    points = [{record["seed"]: 100 * record[accuracy] for record in records} for records in (group, other)]
    unit = "points with TTA" if accuracy == "accuracy" and group[0]["views"] != "plain" else "points"
    seeds = sorted(points[0].keys() & points[1].keys())
    if not seeds:
        means = [statistics.fmean(values.values()) for values in points]
        return f"{means[0] - means[1]:+.2f} {unit}, with different seeds"
    if len(seeds) == 1:
        return f"{points[0][seeds[0]] - points[1][seeds[0]]:+.2f} {unit} (one training each, seed {seeds[0]})"
    mean, half = t_interval([points[0][seed] - points[1][seed] for seed in seeds])
    interval = f"95 % interval {mean - half:+.2f} to {mean + half:+.2f}"
    return f"{mean:+.2f} {unit} ({interval}, seeds {', '.join(map(str, seeds))})"


def undisturbed(records):
    """Return the records of trainings beside which no other one ran; the times of the others are upper limits."""
    return [record for record in records if not record.get("beside")]


def conditions(record):
    """Return what must be alike in two trainings before they are compared."""
    return record["protocol"], record["data"]["checksum"], ran_on_cpu(record)


def machines(records):
    """Return the names of the machines of records without the numbers of their cores, which change times only."""
    names = [re.sub(r" \(\d+ cores?\)", "", machine(record["device"])) for record in records]
    return ", ".join(dict.fromkeys(names))


def machine(device):
    """Return the name of a record's device without the software, and without the memory of a GPU."""
    return re.sub(r" \(\d+ GiB\)", "", device.partition(", torch")[0])


def percent(fraction):
    """Return a fraction as a percentage."""
    return f"{100 * fraction:.2f} %"


def markdown_list(sentences):
    """Return a Markdown list, after an empty line, of the sentences that are not empty."""
    items = [f"- {sentence}\n" for sentence in sentences if sentence]
    return "\n" + "".join(items) if items else ""


if __name__ == "__main__":
    sys.exit(main())
