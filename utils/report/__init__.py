"""Owns the report of a run: its content from the run's record alone, written as HTML and PDF. Trains, measures nothing.

The content is one document of plain data, {"title", "first_line", "about", "footer", "sections"}, which as_html.py
and as_pdf.py write down. A student's own words, Markdown in the run's folder words/, join the section they belong to.
"""

from __future__ import annotations

import importlib.util

from utils import runs
from utils.records import write_bytes
from utils.report import as_html, as_pdf
from utils.report.blocks import read_markdown
from utils.report.results import accuracy, tasks
from utils.report.sections import data, loss_and_optimizer, model
from utils.report.training import training
from utils.report.words import first_line

SECTIONS = (  # title, what says it, the file of the student's own words
    ("1 Data and loaders", data, "data.md"),
    ("2 Model", model, "model.md"),
    ("3 Loss and optimizer", loss_and_optimizer, "loss.md"),
    ("4 Training", training, "training.md"),
    ("5 Final accuracy", accuracy, "accuracy.md"),
    ("What this run shows for each of the assignment's five tasks", tasks, None),
)
HOW_TO_WRITE = """Your own words for the report go into this folder, one Markdown file a section:
data.md, model.md, loss.md, training.md, accuracy.md. Then make the report again: python -m tools.report RUN
"""


def write_report(run, folder=None):
    """Write report.html and report.pdf into a run's folder and return their paths; without typst, the HTML alone.

    run: a Run, or what runs.find takes, which then looks in folder.
    """
    run = run if isinstance(run, runs.Run) else runs.find(run, folder)
    document = content(run)
    paths = [run.folder / "report.html"]
    write_bytes(paths[0], as_html.write(document).encode())
    if importlib.util.find_spec("typst"):
        paths.append(run.folder / "report.pdf")
        write_bytes(paths[1], as_pdf.write(document))
    else:
        (run.folder / "report.pdf").unlink(missing_ok=True)  # an older one would say something else
        print("No PDF: typst is not installed. Get it with `pip install typst`, or print report.html from a browser.")
    words = run.folder / "words"
    words.mkdir(exist_ok=True)
    write_bytes(words / "README.txt", HOW_TO_WRITE.replace("RUN", run.name).encode())
    return paths


def content(run):
    """Return a run's report as a document of plain data."""
    record = run.record
    drawn = (record.get("data") or {}).get("source") == "drawn"
    kind = "Coursework on drawn images" if drawn else "CIFAR-10 coursework"
    images = f"{run.data}, fingerprint {(record.get('data') or {}).get('fingerprint', 'unknown')}"
    seed = "One run, seed unknown" if record.get("seed") is None else f"One run, seed {record['seed']}"
    device = record.get("device") or "Unknown device, unknown torch"
    return {
        "title": f"{kind}: {record.get('system') or run.name}",
        "first_line": first_line(run),
        "about": f"Run {run.name}. Images: {images}. {seed}. {device}.",
        "footer": f"{run.name} · {run.data}",
        "sections": [
            {"title": title, "new_page": say is training, "blocks": [*say(run), *_own_words(run, file)]}
            for title, say, file in SECTIONS
        ],
    }


def _own_words(run, file):
    path = run.folder / "words" / file if file else None
    if path is None or not path.is_file():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    return read_markdown(text) if text.strip() else []
