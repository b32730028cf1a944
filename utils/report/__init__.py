"""Owns the report of a run: its content from the run's record alone, written as HTML and PDF. Trains, measures nothing.

The content is one document of plain data, {"title", "first_line", "about", "footer", "sections"}, which as_html.py
and as_pdf.py write down. A student's own words, Markdown in the run's folder words/, join the section they belong to.
"""

from __future__ import annotations

import importlib.util

from utils import runs
from utils.data.sources import is_synthetic
from utils.files import as_bytes, write_bytes
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
    """Write report.html and report.pdf into a run's folder and return their paths; if typst cannot, the HTML alone.

    run: a Run, or what runs.find takes, which then looks in folder.
    """
    run = run if isinstance(run, runs.Run) else runs.find(run, folder)
    document = content(run)
    paths = [run.folder / "report.html", run.folder / "report.pdf"]
    write_bytes(paths[0], as_bytes(as_html.write(document)))
    pdf, why_not = _pdf(document)
    if pdf is not None:
        write_bytes(paths[1], pdf)
    else:
        paths.pop().unlink(missing_ok=True)  # an older one would say something else
        print(f"No PDF: {why_not}, or print report.html from a browser.")
    words = run.folder / "words"
    words.mkdir(exist_ok=True)
    write_bytes(words / "README.txt", as_bytes(HOW_TO_WRITE.replace("RUN", run.name)))
    return paths


def _pdf(document):
    """Return a document as a PDF's bytes and None, or None and why there is none, with what to do."""
    if not importlib.util.find_spec("typst"):
        return None, "typst is not installed. Get it with `pip install typst`"
    try:
        return as_pdf.write(document), None
    except RuntimeError as error:  # such as TypstError
        return None, f"typst cannot set this report ({str(error).splitlines()[0]}). Simplify your own words"


def content(run):
    """Return a run's report as a document of plain data."""
    record = run.record
    drawn = is_synthetic((record.get("data") or {}).get("source"))
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
    text = path.read_text(encoding="utf-8-sig", errors="replace")  # some editors put a mark before the text
    return read_markdown(text) if text.strip() else []
