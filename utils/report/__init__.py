"""Write the report of a run, report.html and report.pdf, from the files in the run's folder (notebook 05).

    write_report("last")  # the newest run

facts.py reads the facts of the run, the template report.md.j2 turns them into Markdown, document.py parses the
Markdown, and as_html.py and as_pdf.py write the files. A student's own Markdown, in the folder words/ of the run, is
inserted into its section.
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
from utils.report.facts import facts as facts_of  # renamed, because `facts` would hide the module of this name
from utils.report.template import render

__all__ = ["write_report"]

CODE_LINES = 120  # the appendix shows at most this many lines of a network's source text or printed form
HOW_TO_WRITE = """Your own text for the report goes into this folder, one Markdown file per section:
data.md, model.md, loss.md, training.md, accuracy.md. Then write the report again: python -m tools.report RUN
"""


def write_report(run: runs.Run | str, folder: str | Path | None = None) -> list[Path]:
    """Write report.html and report.pdf into a run's folder and return their paths; without typst only the HTML.

    run: a Run or the name of a run in `folder`, by default the run log's folder.
    """
    run = run if isinstance(run, runs.Run) else runs.find(run, folder)
    document = content(run)
    paths = [run.folder / "report.html", run.folder / "report.pdf"]
    write_bytes(paths[0], as_bytes(as_html.write(document)))
    pdf, problem = _pdf(document)
    if pdf is not None:
        write_bytes(paths[1], pdf)
    else:
        paths.pop().unlink(missing_ok=True)  # an older PDF would differ from the new HTML
        print(f"No PDF was written: {problem}, or print report.html from a browser.")
    words = run.folder / "words"
    words.mkdir(exist_ok=True)
    write_bytes(words / "README.txt", as_bytes(HOW_TO_WRITE.replace("RUN", run.name)))
    return paths


def _pdf(document):
    """Return (bytes of the PDF, None), or (None, the problem and what to do)."""
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
    """Return the blocks that replace a picture in the template: the student's text, source code, or a drawing."""
    kind, _, entry = name.partition("/")
    if kind == "words":
        return _students_text(run.folder / "words" / entry)
    if kind == "code":
        return [{"kind": "code", "text": _shortened(known["network"][entry])}]
    return [insert_drawing(name, known, caption, alt)]


def _shortened(text):
    """Cut a very long text; network.json contains all of it."""
    lines = text.splitlines()
    if len(lines) <= CODE_LINES:
        return text
    return "\n".join([*lines[:CODE_LINES], f"... ({len(lines) - CODE_LINES} more lines are in network.json)"])


def _students_text(path):
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8-sig", errors="replace")  # some editors write a byte order mark
    return [{"kind": "words", "blocks": blocks.read_markdown(text)}] if text.strip() else []
