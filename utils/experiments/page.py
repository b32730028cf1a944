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
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator

from utils.figures.style import STYLE
from utils.files import write_bytes
from utils.runs.run import all_runs, trainings
from utils.runs.run_table import rows as rows_of
from utils.runs.schema import is_number

HERE = Path(__file__).parent
NAME = "compare.html"
SYMBOLS = {
    "finished": "✓",
    "pruned": "◇",
    "running": "▶",
    "stopped": "■",
    "interrupted": "◧",
    "diverged": "✕",
    "failed": "!",
    "unsaved": "◧",
}
# The page contains these columns of runs.table(), and the network. Those in SETTINGS are chosen, not measured. A new
# column comes from runs/run_table.py: add it to COLUMNS and `row` there first.
COLUMNS = ("label", "state", "system", "network", "data", "val_acc", "test_acc", "test_acc_tta", "error_rate")
COLUMNS += ("ms_per_iteration", "settled_s", "parameters", "epochs", "of", "seed", "lr", "batch_size", "optimizer")
COLUMNS += ("schedule", "protocol", "effort", "images", "seconds", "attempts", "faults", "sweep", "parent", "created")
COLUMNS += ("device", "run", "problem")
PERCENTAGES = ("val_acc", "test_acc", "test_acc_tta", "error_rate")
SETTINGS = ("system", "network", "data", "parameters", "of", "seed", "lr", "batch_size", "optimizer", "schedule")
SETTINGS += ("protocol", "effort", "images", "parent")
HINTS = {
    "label": "the settings that tell the run from the others of its system",
    "run": "the name of its folder in the run log",
    "problem": "why the run can't be read",
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
CURVE_POINTS = 40  # of the points of a longer curve, only some are drawn
UNITS = {"epoch": "epoch", "seconds": "seconds of training"}  # of the two figures


def write_page(folder: str | Path | None = None) -> Path:
    """Write the page of all runs in a folder, by default the run log's, into that folder; return its path."""
    folder = Path(folder) if folder else trainings()
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / NAME, comparison_page(folder).encode("utf-8", "replace"))  # half a character fits no file
    return folder / NAME


def comparison_page(folder: str | Path | None = None) -> str:
    """Return the page as text."""
    runs = all_runs(folder)
    rows = rows_of(runs)
    contents = {"about": _about(runs, rows), "figures": _figures(runs), "runs": _runs_table(runs, rows)}
    return offline_page(HERE, ["page.js"], contents)


def offline_page(folder: Path, scripts: list[str], contents: dict, more_policy: str = "") -> str:
    """Return page.html of a folder with its page.css, its scripts, and the contents in place of @@name@@."""
    texts = {name: (folder / name).read_text(encoding="utf-8") for name in ("page.html", "page.css", *scripts)}
    script = "".join(texts[name] for name in scripts)
    checksum = base64.b64encode(hashlib.sha256(f"\n{script}".encode()).digest()).decode()
    # Even if a hostile text were not escaped, a browser would not run or fetch anything.
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{checksum}'; base-uri 'none'"
    contents = contents | {"policy": policy + more_policy, "style": texts["page.css"], "script": script}
    # The template is text, name, text, name, ..., text. Inserted contents are not searched for names.
    pieces = texts["page.html"].split("@@")
    return "".join(contents[piece] if i % 2 else piece for i, piece in enumerate(pieces))


def _about(runs, rows):
    if not runs:
        return "There are no runs yet. Every training appears here once it has begun."
    written = datetime.datetime.now().astimezone().strftime("%d %B %Y, %H:%M")
    count = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    synthetic = sum(map(_is_synthetic, runs))
    about = f"{count}, written on {written}."
    if synthetic:
        about += f" {synthetic} of them on synthetic images (marked ✎): their accuracies say nothing about CIFAR-10."
    unreadable = sum(bool(row["problem"]) for row in rows)
    if unreadable:
        about += f" {unreadable} of them can't be read: the last column of the table says why."
    return about


def _is_synthetic(run):
    return (run.record.get("data") or {}).get("source") == "synthetic"


def _figures(runs):
    """Return the figures as HTML."""
    with plt.rc_context(STYLE):
        figures = {f"Accuracy by {text}": _curves(runs, unit) for unit, text in UNITS.items()}
    return "\n".join(f"<figure><figcaption>{title}</figcaption>{svg}</figure>" for title, svg in figures.items())


def _curves(runs, unit):
    """Return a figure with the learning curves as SVG; the script shows the curves of the ticked runs.

    matplotlib draws only the axes: with a curve for each of hundreds of runs, it would need long and write much.
    """
    figure, ax = plt.subplots(figsize=(5.2, 3.4))
    curves = [_curve(run, unit) for run in runs]
    points = [point for curve in curves for point in curve]
    if points:
        ax.update_datalim(points)
        ax.autoscale_view()
    if unit == "epoch":
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel=UNITS[unit], ylabel="validation accuracy (%)")
    ax.set_xlim(left=0)
    ax.grid(axis="y")
    svg = _svg(figure)  # only now, the position of the axes is known
    scale, height = 72 / figure.dpi, 72 * figure.get_figheight()
    lines = []
    for i, curve in enumerate(curves):
        if curve:
            step = math.ceil(len(curve) / CURVE_POINTS)
            shown = [*curve[::step], *([curve[-1]] if (len(curve) - 1) % step else [])]
            positions = [f"{scale * x:.1f} {height - scale * y:.1f}" for x, y in ax.transData.transform(shown)]
            # A line of length 0 is drawn as a dot.
            path = f"M{'L'.join(positions)}" if len(positions) > 1 else f"M{positions[0]}h0"
            lines.append(f'<path class="curve" data-curve="{i}" d="{path}"/>')
    return svg.replace("</svg>", "\n".join([*lines, "</svg>"]))


def _curve(run, unit):
    """Return the points of a learning curve: ("epoch" or "seconds", watched accuracy in percent)."""
    points = [(row.get(unit), row.get(f"{run.watched}_acc")) for row in run.rows]
    return [(x, 100 * accuracy) for x, accuracy in points if None not in (x, accuracy) and not math.isnan(x + accuracy)]


def _svg(figure):
    """Return a figure as SVG for the page, and close it."""
    file = io.StringIO()
    with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": str(figure.number)}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    plt.close(figure)
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r'<g id="\w+">', "<g>", svg)  # these ids are not used, and would occur in several figures
    return re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d)\d+", r"\1", path[0]), svg)


def _runs_table(runs, rows):
    """Return the table of runs as HTML, newest first; the script adds the controls for sorting and filtering."""
    headings = []
    for key in COLUMNS:
        mark = " data-setting" if key in SETTINGS else ""
        hint = HINTS.get(key, "")
        headings.append(f'<th scope="col" title="{hint}" data-key="{key}"{mark}>{key.replace("_", " ")}</th>')
    lines = [_run_line(i, run, row) for i, (run, row) in enumerate(zip(runs, rows, strict=True))][::-1]
    head = f"<thead><tr>{''.join(headings)}</tr></thead>"
    return f'<table id="runs">{head}<tbody>\n{"".join(lines)}</tbody></table>'


def _run_line(i, run, row):
    values = row | {"network": run.network_name}
    if run.is_pruned and row["state"] == "finished":
        values["state"] = "pruned"
    cells = []
    for key in COLUMNS:
        text = html.escape(_cell_text(key, values[key]))
        number = f' data-value="{values[key]}"' if text and is_number(values[key]) else ""  # the script sorts by it
        if key == "state":
            text = f'<span class="state-{text}">{SYMBOLS.get(values[key], "?")} {text}</span>'
        if key == "data" and _is_synthetic(run):
            text = f"✎ {text}"
        cells.append(f"<td{number}>{text}</td>")
    report = " data-report" if (run.folder / "report.html").is_file() else ""
    legend = html.escape(row["label"] + (" (test accuracy)" if run.watched == "test" else ""))
    name = html.escape(run.name)
    return f'<tr data-run="{name}" data-legend="{legend}" data-curve="{i}"{report}>{"".join(cells)}</tr>\n'


def _cell_text(key, value):
    if value is None or value != value:
        return ""
    if key in PERCENTAGES:
        return f"{100 * value:.2f} %"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
