"""Measures the seconds and the memory until the suite is ready, each time in a fresh process.

    python -m tools.bench.startup

The limits are Python alone for what needs no torch, and `import torch` alone for the rest. "first cells" is what a
notebook does before its first line of work: its set-up and all imports of notebook 04. The synthetic images are made
anew each time; pictures in a zip archive are decoded once, with a cold cache, and found decoded with a warm one. The
time is that of the whole process, imports included.
"""

from __future__ import annotations

import ast
import io
import json
import sys
import tempfile
import zipfile
from pathlib import Path

from PIL import Image

from tools.bench import _figures
from tools.bench._shared import ROOT, Setting, Table, in_new_process, main, median, note, span
from utils.data.sources import CLASSES, synthetic

TITLE = "Start-up"
SETTINGS = {
    "repeats": Setting(4, 2, 1, "processes of each kind"),
    "pictures": Setting(60_000, 6_000, 60, "JPEGs in the archive, a sixth of them to test on"),
}
NOTEBOOK = "04_training"
PYTHON, TORCH = "python", "import torch"  # the two limits
CASES = {  # name: (code, limit); what the cold cache keeps, the warm one finds
    PYTHON: ("", None),
    "make help": ("import runpy\nsys.argv[1:] = ['help']\nrunpy.run_module('tools.make', run_name='__main__')", PYTHON),
    TORCH: ("import torch", None),
    "first cells": ("from utils.notebook import start\nstart()\n{imports}", TORCH),
    "synthetic images": ("from utils.data.cifar10 import load_cifar10\nload_cifar10(source='synthetic')", TORCH),
    "archive, cold cache": ("from utils.data.cifar10 import load_cifar10\nload_cifar10({archive!r})", TORCH),
    "archive, warm cache": ("from utils.data.cifar10 import load_cifar10\nload_cifar10({archive!r})", TORCH),
}
# The process tells its own peak at its end.
HEAD = """\
import atexit, os, sys
import tools.bench._memory as memory
atexit.register(lambda: print("", memory.resident(most=True), sep="\\n"))
os.environ["CIFAR10_CACHE"] = {cache!r}
"""


def measure(device, settings):
    """Return {"rows": seconds and peak bytes of each process}."""
    rows = {name: {"case": name, "seconds": [], "peak_bytes": []} for name in CASES}
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "pictures.zip"
        write_pictures(archive, settings["pictures"] // (6 * len(CLASSES)))
        for repeat in range(settings["repeats"]):
            words = {"archive": str(archive), "imports": imports_of(NOTEBOOK), "cache": f"{folder}/{repeat}"}
            for name, (code, _) in CASES.items():
                seconds, peak = in_new_process((HEAD + code).format(**words))
                rows[name]["seconds"].append(seconds)
                rows[name]["peak_bytes"].append(int(peak))
    for row in rows.values():
        note(f"{row['case']}: {median(row['seconds']):.2f} s")
    return {"rows": list(rows.values())}


def write_pictures(archive, count):
    """Write a zip archive of synthetic images as JPEGs: for each class count test images, five times as many others."""
    with zipfile.ZipFile(archive, "w") as out:
        for name in CLASSES:
            for i, picture in enumerate(synthetic.draw_class(name, 6 * count).transpose(0, 2, 3, 1)):
                file = io.BytesIO()
                Image.fromarray(picture).save(file, "JPEG", quality=90)
                out.writestr(f"{'test' if i < count else 'train'}/{name}/{i}.jpg", file.getvalue())


def imports_of(notebook):
    """Return all import statements of a notebook's code, in their order."""
    cells = json.loads((ROOT / "notebooks" / f"{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    plain = [source for source in sources if not source.startswith("%")]
    found = [
        line for source in plain for line in ast.parse(source).body if isinstance(line, (ast.Import, ast.ImportFrom))
    ]
    return "\n".join(map(ast.unparse, found))


def tables(record):
    seconds = {row["case"]: median(row["seconds"]) for row in record["rows"]}
    rows = []
    for row in record["rows"]:
        name, limit = row["case"], CASES[row["case"]][1]
        over = f"{round(seconds[name] - seconds[limit], 2) + 0.0:+.2f}" if limit else "the limit"  # + 0.0: no -0.00
        rows.append((name, f"{seconds[name]:.2f}", over, f"{max(row['peak_bytes']) / 2**20:,.0f}"))
    return [Table("A fresh process, median:", ("until", "seconds", "over the limit", "peak MiB"), rows)]


def headlines(record):
    seconds = {row["case"]: median(row["seconds"]) for row in record["rows"]}
    claim = "a notebook's first cells against `import torch` alone, times the seconds"
    return {claim: f"{seconds['first cells'] / seconds[TORCH]:.1f}"}


def draw(records):
    panels = {"seconds": {}, "peak memory, MiB": {}}
    for kind, record in _figures.present(records):
        for row in record["rows"]:
            seconds, peak = median(row["seconds"]), max(row["peak_bytes"]) / 2**20
            panels["seconds"].setdefault(row["case"], {})[kind] = (seconds, f"{seconds:.2f}")
            panels["peak memory, MiB"].setdefault(row["case"], {})[kind] = (peak, f"{peak:,.0f}")
    ready = [
        median(row["seconds"])
        for _, r in _figures.present(records)
        for row in r["rows"]
        if row["case"] == "first cells"
    ]
    title = f"A notebook is ready after {span(ready)} seconds"
    return _figures.bars(panels, title=title, columns=2, records=records)


if __name__ == "__main__":
    sys.exit(main(sys.modules[__name__]))
