"""A page that compares all runs: one HTML file with figures and a table to sort and filter, which works offline.

write_page()  # writes compare.html into the run log's folder
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import html
import io
import math
import re
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from utils.experiments.beside_reports import beside_reported, beside_table, comparison_table
from utils.experiments.compare import group_runs, is_synthetic, network_name, percent_text
from utils.experiments.plots import draw_curves, show_best_runs
from utils.figures.style import STYLE
from utils.files import write_bytes
from utils.runs.run import all_runs, row, trainings

HERE = Path(__file__).parent
NAME = "compare.html"
SYMBOLS = {
    "finished": "✓",
    "running": "▶",
    "stopped": "■",
    "interrupted": "◧",
    "diverged": "✕",
    "failed": "!",
    "unsaved": "◧",
}
# The page contains these columns of runs.table(), and the network. Those in SETTINGS are chosen, not measured.
COLUMNS = ("run", "state", "system", "network", "data", "val_acc", "test_acc", "test_acc_tta", "error_rate")
COLUMNS += ("ms_per_iteration", "settled_s", "parameters", "epochs", "of", "seed", "lr", "batch_size", "optimizer")
COLUMNS += ("schedule", "protocol", "effort", "images", "seconds", "attempts", "faults", "sweep", "parent", "created")
COLUMNS += ("device",)
PERCENTAGES = ("val_acc", "test_acc", "test_acc_tta", "error_rate")
SETTINGS = ("system", "network", "data", "parameters", "of", "seed", "lr", "batch_size", "optimizer", "schedule")
SETTINGS += ("protocol", "effort", "images", "parent")
HINTS = {
    "val_acc": "validation accuracy after the last epoch",
    "test_acc": "test accuracy of single predictions",
    "test_acc_tta": "test accuracy with test-time augmentation",
    "error_rate": "of the test images if they were measured, else of the watched ones",
    "ms_per_iteration": "time of an epoch, measuring included, divided by its batches",
    "settled_s": "seconds until the accuracy stays within one point of its best",
    "of": "epochs that were asked for",
    "images": "training images",
    "sweep": "the grid it is a trial of",
    "parent": "the run whose weights it began with",
}


def write_page(folder: str | Path | None = None) -> Path:
    """Write the page of all runs in a folder, by default the run log's, into that folder; return its path."""
    folder = Path(folder) if folder else trainings()
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / NAME, comparison_page(folder).encode("utf-8", "replace"))  # half a character fits no file
    return folder / NAME


def comparison_page(folder: str | Path | None = None) -> str:
    """Return the page as text, with styles, figures and its script; its policy forbids any other script."""
    runs = all_runs(folder)
    script = _read("page.js")
    checksum = base64.b64encode(hashlib.sha256(f"\n{script}".encode()).digest()).decode()
    # Even if a hostile text were not escaped, a browser would not run or fetch anything.
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{checksum}'; base-uri 'none'"
    contents = {
        "policy": policy,
        "style": _read("page.css"),
        "script": script,
        "about": _about(runs),
        "figures": _figures(runs),
        "runs": _runs_table(runs),
        "reported": _reported(group_runs(runs)),
    }
    # The template is text, name, text, name, ..., text. Inserted contents are not searched for names.
    pieces = _read("page.html").split("@@")
    return "".join(contents[piece] if i % 2 else piece for i, piece in enumerate(pieces))


def _read(name):
    return (HERE / name).read_text(encoding="utf-8")


def _about(runs):
    if not runs:
        return "There are no runs yet. Every training appears here once it has begun."
    written = datetime.datetime.now().astimezone().strftime("%d %B %Y, %H:%M")
    count = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    synthetic = sum(map(is_synthetic, runs))
    about = f"{count}, written on {written}."
    if synthetic:
        about += f" {synthetic} of them on synthetic images (marked ✎): their accuracies say nothing about CIFAR-10."
    return about


def _figures(runs):
    """Return the three figures as HTML; a curve has the number of its run, with which the script shows or hides it."""
    figures = {}
    with plt.rc_context(STYLE):
        for unit, title in (("epoch", "Accuracy by epoch"), ("seconds", "Accuracy by seconds of training")):
            figure, ax = plt.subplots(figsize=(5.2, 3.4))
            draw_curves(ax, runs, unit)
            figures[title] = _svg(figure)
        figures["Best accuracy by run"] = _svg(show_best_runs(runs, count=12))
    return "\n".join(f"<figure><figcaption>{title}</figcaption>{svg}</figure>" for title, svg in figures.items())


def _svg(figure):
    """Return a figure as SVG for the page, and close it."""
    file = io.StringIO()
    with warnings.catch_warnings(), plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": str(figure.number)}):
        warnings.simplefilter("ignore")  # about characters that are missing in matplotlib's font, but not in browsers
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    plt.close(figure)
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r'<g id="curve-(\d+)">', r'<g class="curve" data-curve="\1">', svg)
    svg = re.sub(r'<g id="\w+">', "<g>", svg)  # these ids are not used, and would occur in several figures
    return re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d)\d+", r"\1", path[0]), svg)


def _runs_table(runs):
    """Return the table of runs as HTML, newest first; the script adds the controls for sorting and filtering."""
    headings = []
    for key in COLUMNS:
        is_setting = " data-setting" if key in SETTINGS else ""
        hint = HINTS.get(key, "")
        headings.append(f'<th scope="col" title="{hint}" data-key="{key}"{is_setting}>{key.replace("_", " ")}</th>')
    lines = [_run_line(i, run) for i, run in enumerate(runs)][::-1]
    head = f"<thead><tr>{''.join(headings)}</tr></thead>"
    return f'<table id="runs">{head}<tbody>\n{"".join(lines)}</tbody></table>'


def _run_line(i, run):
    values = row(run) | {"network": network_name(run)}
    cells = []
    for key in COLUMNS:
        text = html.escape(_cell_text(key, values[key]))
        if key == "state":
            text = f'<span class="state-{text}">{SYMBOLS.get(values[key], "?")} {text}</span>'
        if key == "data" and is_synthetic(run):
            text = f"✎ {text}"
        is_number = isinstance(values[key], (int, float))
        number = f' data-value="{values[key]}"' if is_number and math.isfinite(values[key]) else ""
        cells.append(f"<td{number}>{text}</td>")
    report = " data-report" if (run.folder / "report.html").is_file() else ""
    return f'<tr data-run="{html.escape(run.name)}" data-curve="{i}"{report}>{"".join(cells)}</tr>\n'


def _cell_text(key, value):
    if value is None or value != value:
        return ""
    if key in PERCENTAGES:
        return percent_text(value)
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _reported(groups):
    """Return our accuracies beside the reported ones as HTML: a table of reports A to E, and two tables to unfold."""
    parts = [_table(beside_reported(groups))]
    for letter in ("C", "D"):
        rows = beside_table(letter, groups)
        complete = sum(row["is_complete"] is True for row in rows)
        title = f"Report {letter}'s table: {len(rows)} runs, {complete} of them run in full here"
        parts.append(f"<details><summary>{title}</summary>{_table(rows)}</details>")
    return "\n".join(parts)


def _table(rows):
    with pd.option_context("display.max_colwidth", None):
        table = comparison_table(rows).reset_index().to_html(index=False, border=0, escape=True)
    return f'<div class="wide">{table}</div>'
