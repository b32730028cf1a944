"""Owns the comparison page: all runs in one HTML file that needs no network. What they amount to is __init__.py's."""

from __future__ import annotations

import base64
import datetime
import hashlib
import html
import json
from pathlib import Path

from utils.experiments.compare import (
    beside_reported,
    beside_table,
    circumstances,
    groups,
    is_drawn,
    neighbours,
    ours_in_words,
    percent,
)
from utils.files import plain, write_bytes
from utils.runs.run import all_runs, row, trainings

HERE = Path(__file__).parent
NAME = "compare.html"
POINTS = 120  # of a curve, at most: more cannot be told apart on a screen
# Only these go into the page; a title is what its heading says, a kind how its values are shown and sorted.
COLUMNS = (
    ("run", "run", "text", ""),
    ("state", "state", "text", ""),
    ("system", "system", "text", ""),
    ("data", "images", "text", "which images it was trained on"),
    ("val_acc", "val. acc.", "percent", "validation accuracy after its last epoch"),
    ("test_acc", "test acc.", "percent", "test accuracy, if it was measured"),
    ("error_rate", "error rate", "percent", "of the test images if they were measured, else of the watched ones"),
    ("ms_per_iteration", "ms an iteration", "number", "an epoch's time, measuring included, by its batches"),
    ("settled_s", "settled after, s", "number", "seconds until the accuracy stays within a point of its best"),
    ("parameters", "parameters", "count", ""),
    ("epochs", "epochs", "count", "whole epochs done"),
    ("of", "of", "count", "epochs that were asked for"),
    ("seed", "seed", "count", ""),
    ("lr", "lr", "number", "learning rate"),
    ("batch_size", "batch", "count", ""),
    ("optimizer", "optimizer", "text", ""),
    ("schedule", "schedule", "text", ""),
    ("protocol", "protocol", "text", ""),
    ("budget", "budget", "text", ""),
    ("images", "trained on", "count", "training images"),
    ("seconds", "seconds", "number", ""),
    ("attempts", "attempts", "count", ""),
    ("faults", "faults", "count", ""),
    ("sweep", "sweep", "text", ""),
    ("parent", "parent", "text", "the run whose weights it began with"),
    ("created", "created", "text", ""),
    ("device", "device", "text", ""),
)
FOUR = ("error_rate", "ms_per_iteration", "settled_s", "parameters")  # by which report E judges a network


def write_page(folder=None):
    """Write the page of all runs in a folder, by default the ledger's, into it; return the page's path."""
    folder = Path(folder) if folder else trainings()
    folder.mkdir(parents=True, exist_ok=True)
    text = page(folder).encode("utf-8", "replace")  # half a character is no text, and ends browsers
    write_bytes(folder / NAME, text)
    return folder / NAME


def page(folder=None):
    """Return the page as text: data, style and script are inside, and the script alone may run."""
    found = all_runs(folder)
    every = groups(found)
    style, *scripts = (_read(name) for name in ("page.css", "charts.js", "page.js"))
    script = "".join(scripts)
    digest = base64.b64encode(hashlib.sha256(f"\n{script}".encode()).digest()).decode()
    # Even if something hostile got past the escaping, a browser would neither run nor fetch it.
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'"
    parts = {
        "policy": policy,
        "style": style,
        "script": script,
        "data": _json(payload(found, every)),
        "about": _about(found),
        "reported": _reported(every),
        "tables": "\n".join(_table_of(letter, every) for letter in ("C", "D")),
    }
    # Text, name, text, name, ..., text: what goes in is never searched for names itself.
    pieces = _read("page.html").split("@@")
    return "".join(parts[piece] if i % 2 else piece for i, piece in enumerate(pieces))


def _read(name):
    return (HERE / name).read_text(encoding="utf-8")


def payload(found, every):
    """Return what the script works with: columns, runs with thinned curves, and which groups differ in one setting."""
    near = neighbours(every)
    return {
        "columns": [dict(zip(("key", "title", "kind", "hint"), column, strict=True)) for column in COLUMNS],
        "four": FOUR,
        "runs": [_run(run) for run in found],
        "groups": [
            {
                "runs": [run.name for run in group.runs],
                "name": _name(group),
                "mean": group.mean,
                "std": group.std,
                "each": group.accuracies,
                "kind": group.kind,
                "images": group.runs[0].data,
                "changes": [[j, str(change), change.before] for j, change in changes],
            }
            for group, changes in zip(every, near, strict=True)
        ],
    }


def _name(group):
    seeds = f" and {len(group.runs) - 1} more seeds" if len(group.runs) > 1 else ""
    return group.runs[0].name + seeds


def _run(run):
    values = row(run)
    rows, watched = run.history().rows, f"{run.record.get('watched') or 'val'}_acc"
    rows = [line for line in rows if line.get(watched) is not None]
    kept = rows if len(rows) <= POINTS else [rows[round(i * (len(rows) - 1) / (POINTS - 1))] for i in range(POINTS)]
    curve = [[line["epoch"], round(line.get("seconds") or 0, 2), round(line[watched], 4)] for line in kept]
    extra = {
        "curve": curve,
        "watched": watched[:-4],
        "drawn": is_drawn(run),
        "report": (run.folder / "report.html").is_file(),
    }
    return {key: values.get(key) for key, *_ in COLUMNS} | extra


def _json(value):
    """Return JSON that is no HTML, whatever texts it holds."""
    text = json.dumps(plain(value), separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _about(found):
    """Say how many runs there are, when the page was written, and which of them are on drawn images."""
    written = datetime.datetime.now().astimezone().strftime("%d %B %Y, %H:%M")
    if not found:
        return "There are no runs yet: every training is put on the ledger, and then here."
    drawn = sum(map(is_drawn, found))
    runs = f"{len(found)} run{'s' * (len(found) > 1)}, as they stood on {written}."
    said = f" {drawn} of them on drawn images (marked ✎): their figures say nothing of CIFAR-10." if drawn else ""
    return runs + said


def _reported(every):
    lines = [
        (row["report"], row["system"], row["title"], percent(row["reported"]), ours_in_words(row), circumstances(row))
        for row in beside_reported(every)
    ]
    return _table(("report", "system", "title", "reported, test", "ours, best run", "ours: circumstances"), lines)


def _table_of(letter, every):
    rows = beside_table(letter, every)
    lines = [
        (row["number"], row["label"], percent(row["reported"]), ours_in_words(row), circumstances(row)) for row in rows
    ]
    known = sum(row["is_trial"] is False for row in rows)
    head = ("row", "run of the table", "reported, test", "ours, best run", "ours: circumstances")
    said = f"Report {letter}'s table: {len(rows)} runs, of which ours has {known or 'none yet'} in full"
    return f"<details><summary>{said}</summary>{_table(head, lines)}</details>"


def _table(head, lines):
    titles = "".join(f'<th scope="col">{html.escape(title)}</th>' for title in head)
    cells = ("".join(f"<td>{html.escape(str(cell))}</td>" for cell in line) for line in lines)
    body = "".join(f"<tr>{line}</tr>\n" for line in cells)
    return f'<div class="wide"><table><thead><tr>{titles}</tr></thead><tbody>\n{body}</tbody></table></div>'
