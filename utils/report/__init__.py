"""The report of a run, as report.html and report.pdf, from the files in the run's folder. Notebook 05.

    write_report("last")  # the run that was started last

`facts` reads what there is to say, report.md.j2 says it in Markdown, `blocks` reads that, as_html and as_pdf write it.
A student's own Markdown, in the run's folder words/, joins the section it belongs to.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

from utils import runs
from utils.files import as_bytes, write_bytes
from utils.report import as_html, as_pdf
from utils.report import document as blocks
from utils.report.drawings import insert_drawing
from utils.report.facts import facts as facts_of  # the name of the module stays the module
from utils.report.template import render

__all__ = ["write_report"]

CODE_LINES = 120  # of a network's source text and of its printed form that the appendix shows
HOW_TO_WRITE = """Your own text for the report goes into this folder, one Markdown file per section:
data.md, model.md, loss.md, training.md, accuracy.md. Then write the report again: python -m tools.report RUN
"""


def write_report(run: runs.Run | str, folder: str | Path | None = None) -> list[Path]:
    """Write report.html and report.pdf into a run's folder and return their paths; without typst the HTML alone.

    run: a Run, or a name that runs.find takes, which then looks in folder.
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
        print(f"No PDF was written: {why_not}, or print report.html from a browser.")
    words = run.folder / "words"
    words.mkdir(exist_ok=True)
    write_bytes(words / "README.txt", as_bytes(HOW_TO_WRITE.replace("RUN", run.name)))
    return paths


def _pdf(document):
    """Return a document as a PDF's bytes and None, or None and the reason with what to do."""
    if not importlib.util.find_spec("typst"):
        return None, "typst is not installed. Install it with `pip install typst`"
    try:
        return as_pdf.write(document), None
    except RuntimeError as error:  # such as TypstError
        return None, f"typst cannot set this report ({str(error).splitlines()[0]}). Simplify your own text"


def content(run: runs.Run) -> dict:
    """Return a run's report as a document of plain data: {"title", "first_line", "about", "footer", "sections"}."""
    known = facts_of(run)
    document = blocks.read_report(render(known), functools.partial(_insert, run, known))
    return document | {"footer": f"{run.name} · {known['data']['name']}"}


def _insert(run, known, name, caption, alt):
    """Return the blocks that replace a picture of the template: the student's text, source code, or a drawing."""
    kind, _, rest = name.partition("/")
    if kind == "words":
        return _own_words(run.folder / "words" / rest)
    if kind == "code":
        return [{"kind": "code", "text": _shortened(known["network"][rest])}]
    return [insert_drawing(name, known, caption, alt)]


def _shortened(text):
    """Leave out the end of a very long text: network.json has all of it."""
    lines = text.splitlines()
    if len(lines) <= CODE_LINES:
        return text
    return "\n".join([*lines[:CODE_LINES], f"... ({len(lines) - CODE_LINES} more lines are in network.json)"])


def _own_words(path):
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8-sig", errors="replace")  # some editors put a mark before the text
    return [{"kind": "words", "blocks": blocks.read_markdown(text)}] if text.strip() else []
