"""Owns the tables of results: README.md's, and results/README.md whole. Made of results/ alone; no cell is typed.

    python -m tools.results [--check]

--check writes nothing and fails where a table is not that of the records.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
from pathlib import Path

from tools.marks import filled
from utils.experiments.compare import percent
from utils.experiments.results import RESULTS, fastest, groups, read_results, seconds
from utils.files import plain
from utils.recipes import ABLATIONS, GATED, OURS, SYSTEMS, WITHOUT_GATE
from utils.recipes.tables import C_ROWS, D_ROWS
from utils.report.words import NB, duration

ROOT = Path(__file__).resolve().parents[1]
NOT_RUN = "not yet run"
COLUMNS = ("", "reported", "ours, test", "images", "protocol", "seeds", "epochs", "time", "on")
# Columns that are left out where all rows say the same, and what a sentence calls them.
ALIKE = {"images": "Images", "protocol": "Protocol", "seeds": "Seeds", "on": "Machine"}
PROTOCOL = {"final": "test images once", "report": "test images watched", "honest": "a tenth held out"}
HEAD = """\
# Results

Every finished training of `make reproduce` left a record here: what it reached, on which images (by name and
fingerprint), with which seed, recipe and hardware, in what time. `make results` makes this page and the README's table
from these records; no cell is typed.

- **ours, test**: the accuracy on the 10,000 test images, mean ± standard deviation over the seeds. Our own recipes
  average the network's answers to six views of each image (as it is and shifted by a pixel along the diagonal, each of
  these mirrored as well); *one look* is the usual single answer.
- **protocol**: *test images once* trains on all 50,000 images, watches nothing, and measures the test images when the
  training has ended. *Test images watched* also trains on all 50,000, but measures the test images after every epoch,
  as the reports did; the last epoch counts. *A tenth held out* trains on 45,000 images.
- **time**: a run's median, from the start of the training, with the images in memory, to the last answer, all views
  included, on the machine named: the fastest, if seeds ran on several, and *one run* where a single seed ran on it. On
  a GPU the clock starts after a warm-up of a few batches; *at most* means that other trainings ran on the same GPU at
  the same time. Records from before 25 November 2026 name a virtual machine's processor without its family, so that
  times of different days may be of different machines.

JPEG copies of CIFAR-10 are not CIFAR-10: a published recipe that reaches 94.01 % on the original images (airbench94)
stays some three points below that on them, in the adapted form that is named under the table. Reported figures are of
the original images. Our recipes were chosen on held-out training images, but they were revised several times, and some
of their earlier forms had been measured on the test images, too ([DEVELOPERS.md](../DEVELOPERS.md) says which).

Report A does not say how strong its weight decay is. With report D's, which is taken here, its network knows 89 % of
the training images at the end where the report's knew 97 %, and falls short on the test images by some two points more
than the compression explains: the report's was weaker, it seems.

Report B puts a softmax before the cross-entropy, whose loss then cannot fall below 1.46; the 0.10 that it reports were
measured on another network than its text describes. Ours is as the text has it, and falls short of the reported
accuracy by more than the compression explains.

Report D does not say how strong its crops and rotations are. With those taken here its network learns the training
images better than the report's did, and falls short on the test images by somewhat more than the compression explains:
the report's were stronger, it seems.
"""

GATE = """\
## What the gate is worth

`one_branch`: a plain convolution of 3x3 in the place of each gated one. `constant_gate`: the same three branches, which
all images weigh alike, a third each. All else is as in the recipe above them, so the gate is worth what they lose.

`narrow` is `quick` with a third of its widths and three branches of 3x3: a network that lacks kernels. There a gate
that chooses among three is worth a point against one kernel, and nearly as much against three that are always mixed
alike. Wide networks have kernels enough: in them the gate is worth something against constant weights only, and one
branch of 3x3, without the two of 1x1, does as well.
"""


def main(words=None):
    """Write both pages, or check that they are up to date."""
    parser = argparse.ArgumentParser(prog="python -m tools.results", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, fail where a page is stale")
    args = parser.parse_args(words)
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        print(f"{path.relative_to(ROOT)}: {'stale' if args.check else 'written'}")
        if not args.check:
            path.write_text(pages()[path], encoding="utf-8")
    if args.check and stale:
        print("  next:  make results")
    return int(args.check and bool(stale))


def pages(records=None):
    """Return {path: text} of the two pages, from the records alone."""
    records = list(read_results().values()) if records is None else records
    readme, table = ROOT / "README.md", tabulated(headline(records)) + beside(records)
    return {
        readme: filled(readme.read_text(encoding="utf-8"), "results", table, readme),
        RESULTS.parent / "README.md": whole(records),
    }


def whole(records):
    """Return the page of results/: the headline, the ablations, both reports' tables."""
    sections = [HEAD, tabulated(headline(records)) + beside(records)]
    sections += [GATE, tabulated(ablations(records)) + beside_ablations(records)]
    for letter, rows in (("C", C_ROWS), ("D", D_ROWS)):
        named = [(f"{row.number} {row.label}", row.recipe) for row in rows]
        found = [line for title, recipe in named for line in lines(title, recipe, records)]
        none = all(line[2] == NOT_RUN for line in found)
        text = f"None of its {len(rows)} rows has been run yet.\n" if none else tabulated(found)
        sections += [f"## Report {letter}'s table\n", text]
    return "\n".join(sections)


def headline(records):
    """Return the rows of the main table: A to E, ours, the rivals that were run beside them; last what was not run."""
    five = zip("ABCDE", SYSTEMS.values(), strict=True)
    found = [line for letter, recipe in five for line in lines(f"{letter} `{recipe.name}`", recipe, records)]
    found += [line for recipe in OURS.values() for line in lines(f"ours: `{recipe.name}`", recipe, records)]
    rivals = dict.fromkeys(record["system"] for record in records if "rival" in record)
    found += [line for name in rivals for line in rival_lines(name, records)]
    return sorted(found, key=lambda line: line[2] == NOT_RUN)


def beside(records):
    """Say how ours compare with a rival on the same machine and images, in points and in time; nothing without one."""
    found = groups(records)
    rivals = [group for group in found if "rival" in group[0]]
    said = [compared(ours, rival) for rival in rivals for ours in found if ours[0]["system"] in OURS]
    adapted = {group[0]["system"]: group[0]["rival"].get("adapted") for group in rivals}
    return items([*said, *(f"`{name}` was adapted: {how}." for name, how in adapted.items() if how)])


def beside_ablations(records):
    """Say how each ablation compares with its recipe on the same machine and images."""
    found = {name: [group for group in groups(records) if group[0]["system"] == name] for name in OURS | ABLATIONS}
    pairs = [(base.name, recipe.name) for base in GATED for recipe in WITHOUT_GATE[base.name]]
    return items([compared(one, two) for base, name in pairs for one in found[name] for two in found[base]])


def compared(ours, other):
    """Say how many points more one group has than another, and in how much time on a machine that both ran on.

    Nothing if there is no such machine, or if all else is not alike.
    """
    machine = next((one["device"] for one in ours if one["device"] in {another["device"] for another in other}), None)
    if machine is None or about(ours[0]) != about(other[0]):
        return ""
    there = [[record for record in group if record["device"] == machine] for group in (ours, other)]
    points = 100 * (mean(ours) - mean(other))
    said = f"{abs(points):.2f} points {'higher' if points > 0 else 'lower'}"
    if min(len(ours), len(other)) == 1:
        said += " by a single seed"
    elif abs(points) <= max(spread(ours), spread(other)):
        said += ", which is within the spread over seeds"
    if not any(record.get("beside") for group in there for record in group):  # whose times are upper limits
        said += f"{',' * said.endswith('seeds')} in {seconds(there[0]) / seconds(there[1]):.2f} times the time"
    if "parameters" in ours[0] and "parameters" in other[0]:
        said += f", with {ours[0]['parameters'] / other[0]['parameters']:.2f} times the parameters"
    names = [group[0]["system"] for group in there]
    return "`{}` against `{}`, ".format(*names) + f"{ours[0]['data']['name']}, {hardware(there[0][0])}: {said}."


def spread(group):
    """Return the standard deviation over the seeds in points; of a single one it is not known, and counts as none."""
    return 100 * statistics.stdev(record["accuracy"] for record in group) if len(group) > 1 else 0.0


def items(sentences):
    """Return a Markdown list of those that say something, after an empty line."""
    said = [f"- {sentence}" for sentence in sentences if sentence]
    return "\n" + "\n".join(said) + "\n" if said else ""


def about(record):
    """Return what has to be alike in two trainings, besides the machine, before they are compared."""
    return record["protocol"], record["data"]["fingerprint"]


def mean(group):
    """Return the mean accuracy over the seeds."""
    return statistics.fmean(record["accuracy"] for record in group)


def hardware(record):
    """Return the name of the device without its software, and without a GPU's memory."""
    return re.sub(r" \(\d+ GiB\)", "", record["device"].partition(", torch")[0])


def ablations(records):
    """Return the rows of each recipe that has ablations, and of what it was changed into."""
    recipes = [recipe for base in GATED for recipe in (base, *WITHOUT_GATE[base.name])]
    return [line for recipe in recipes for line in lines(f"`{recipe.name}`", recipe, records)]


def lines(title, recipe, records):
    """Return a row for each protocol, kind of images and device that a recipe was run under, or one that says none."""
    own = [record for record in records if same(record, recipe)]
    reported = reported_in_words(recipe)
    return [(title, reported, *figures(group)) for group in groups(own)] or [(title, reported, NOT_RUN, *[""] * 6)]


def rival_lines(name, records):
    """Return a row for each kind of images and device that somebody else's code was run on."""
    own = [record for record in records if record["system"] == name and "rival" in record]
    published = own[0]["rival"]
    reported = f"{percent(published['accuracy'])} on the original, {duration(published['seconds'])}, {published['on']}"
    return [(f"[{name}]({published['address']})", reported, *figures(group)) for group in groups(own)]


def same(record, recipe):
    """Tell whether a record is of a recipe as it stands, answering by the same views."""
    return record.get("recipe") == plain(recipe.describe()) and record["views"] == recipe.views


def figures(group):
    """Return the cells of a group: accuracy, images, protocol, seeds, epochs, time, hardware."""
    one = group[0]
    around = f" ± {spread(group):.2f}" if len(group) > 1 else ""
    said = f"**{100 * mean(group):.2f}**{around}{NB}%"
    if one["views"] != "plain":
        plain = statistics.fmean(record["plain_accuracy"] for record in group)
        said += f" (one look: {100 * plain:.2f}{NB}%)"
    protocol, images, timed = PROTOCOL[one["protocol"]], one["data"]["name"], fastest(group)
    time = duration(seconds(timed)) + (" at most" if any(record.get("beside") for record in timed) else "")
    time += " (one run)" if len(timed) == 1 < len(group) else ""
    return said, images, protocol, str(len(group)), str(one["epochs"]), time, hardware(timed[0])


def reported_in_words(recipe):
    """Say what a report gives for a recipe, or nothing for one of ours."""
    if not recipe.reported:
        return ""
    epochs = recipe.reported.get("epochs")
    return percent(recipe.reported["test_acc"]) + (f", {epochs} epochs" if epochs else "")


def tabulated(rows):
    """Return a Markdown table without columns that are empty, or the same in all rows: these are said below it."""
    filled_in = [row for row in rows if row[2] != NOT_RUN]
    kinds = {name: {row[i] for row in filled_in} for i, name in enumerate(COLUMNS)}
    same = {name: values.pop() for name, values in kinds.items() if len(values) == 1 and name in ALIKE}
    kept = [i for i, name in enumerate(COLUMNS) if name not in same and any(row[i] for row in rows)]
    said = " ".join(f"{ALIKE[name]} of all rows: {value}." for name, value in same.items())
    said = f"\n{said}\n" if said else ""
    return markdown([COLUMNS[i] for i in kept], [[row[i] for i in kept] for row in rows]) + said


def markdown(columns, rows):
    """Return a Markdown table."""
    line = "| " + " | ".join(columns) + " |\n"
    return "".join([line, "|" + "---|" * len(columns) + "\n", *(f"| {' | '.join(row)} |\n" for row in rows)])


if __name__ == "__main__":
    sys.exit(main())
