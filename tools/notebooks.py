"""Reads, cleans and writes notebooks, and turns an executed one into a page.

    python -m tools.notebooks [FILE ...]

cleans them in place, so that a committed notebook holds only what a reader needs.
"""

from __future__ import annotations

import copy
import hashlib
import html
import json
import os
import re
import sys
from pathlib import Path

import nbformat

from tools.command import command

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "notebooks"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
WIDGET = "application/vnd.jupyter.widget-view+json"
SKIPPED = "skip-execution"  # the tag of a cell that is never run
# The home folders of any system; `refused` adds the suite's folder and the home folder of this machine.
HOME_FOLDERS = r"(?<![\w.])/(?:home|Users)/[\w.-]+/|(?<![\w.])/root/|\b[A-Za-z]:\\+Users\\+"

# A page has nbconvert's look, but a readable width, a text for each figure, and no script except that for formulas.
PAGE = """\
{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block extra_css -%}<style>main { max-width: 64rem; margin: auto; padding: 0 1rem; }</style>{%- endblock -%}
{%- block data_png -%}
{%- set width = output | get_metadata('width', 'image/png') -%}
<img src="data:image/png;base64,{{ output.data['image/png'] | replace('\\n', '') }}" alt="{{ output.metadata.alt }}"
 {%- if width %} width="{{ width }}"{% endif %} style="max-width: 100%; height: auto">
{%- endblock -%}
"""


def paths(names=()):
    """List the suite's notebooks in order, or those whose file names start with one of these names."""
    files = sorted(FOLDER.glob("[0-9]*.ipynb"))
    return [path for path in files if not names or path.name.startswith(tuple(names))]


def read(path):
    """Read a notebook; ids that its cells lack are filled in, the same ones every time."""
    data = json.loads(Path(path).read_text(encoding="utf-8"))
    ids = set()
    for number, cell in enumerate(data["cells"]):
        if not cell.get("id") or cell["id"] in ids:
            text = "".join(cell["source"])
            cell["id"] = hashlib.sha256(f"{number} {text}".encode()).hexdigest()[:8]
        ids.add(cell["id"])
    data["nbformat"], data["nbformat_minor"] = 4, 5
    return nbformat.v4.to_notebook_json(data)


def text_of(nb):
    """Return a notebook as the text of its file; the same notebook always gives the same text."""
    nbformat.validate(nb)
    return nbformat.v4.writes(nb).rstrip("\n") + "\n"


def write(nb, path):
    """Write a notebook in one step, so that no reader finds half of it."""
    partial = Path(path).with_suffix(".part")
    partial.write_text(text_of(nb), encoding="utf-8", newline="\n")
    os.replace(partial, path)


def is_run(cell):
    """Tell whether a cell holds code that a run executes."""
    return cell.cell_type == "code" and bool(cell.source.strip()) and SKIPPED not in cell.metadata.get("tags", [])


def clean(nb):
    """Remove from a notebook what no reader needs and no diff should show; return it, changed in place."""
    accelerator = {"accelerator": nb.metadata["accelerator"]} if "accelerator" in nb.metadata else {}  # read by Colab
    nb.metadata = nbformat.from_dict({**accelerator, **METADATA})
    count = 0
    for cell in nb.cells:
        metadata = {}
        if cell.metadata.get("tags"):
            metadata["tags"] = cell.metadata["tags"]
        if cell.metadata.get("seconds") is not None:
            metadata["seconds"] = round(float(cell.metadata["seconds"]), 1)
        cell.metadata = nbformat.from_dict(metadata)
        cell.source = cell.source.rstrip("\n")
        if cell.cell_type != "code":
            continue
        cell.outputs = _clean_outputs(cell.outputs)
        if cell.execution_count is not None:
            count += 1
            cell.execution_count = count
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = cell.execution_count
    return nb


def _clean_outputs(outputs):
    cleaned = []
    for output in outputs:
        if "data" in output:
            output.data.pop(WIDGET, None)
            if not output.data:
                continue
        continues_stream = output.output_type == "stream" and cleaned and cleaned[-1].get("name") == output.name
        if continues_stream:
            cleaned[-1].text += output.text
        else:
            cleaned.append(output)
    for output in cleaned:
        if output.output_type == "stream":
            output.text = last_frames(output.text)
    return cleaned


def last_frames(text):
    """Return what a terminal would show at the end: of a line that was rewritten by carriage returns, the last text."""
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines)


def texts(cell):
    """Yield (kind, text) of all that a cell holds as text: its source, and every output."""
    yield "source", cell.source
    for output in cell.get("outputs", []):
        if output.output_type == "stream":
            yield output.name, output.text
        elif output.output_type == "error":
            yield "error", f"{output.ename}: {output.evalue}"
        else:
            for kind, data in output.data.items():
                if not kind.startswith("image/png"):
                    yield kind, str(data)


def refused(nb):
    """List what no committed notebook may hold: errors, stderr, scripts, and paths of somebody's machine."""
    folders = [re.escape(folder + os.sep) for folder in (str(ROOT), str(Path.home())) if len(folder) > 1]
    machine_path = re.compile("|".join([HOME_FOLDERS, *folders]))
    problems = []
    for number, cell in enumerate(nb.cells, 1):
        for kind, text in texts(cell):
            if kind in ("stderr", "error"):
                problems.append(f"cell {number}: {kind} output: {text.strip()[-80:]}")
            if kind == "application/javascript" or (kind != "source" and "<script" in text):
                problems.append(f"cell {number}: a script in its output")
            if match := machine_path.search(text):
                problems.append(f"cell {number}: a path of this machine in its {kind}: {match.group()}")
    return problems


def as_page(nb, title):
    """Return an executed notebook as one HTML page that needs no other file, but for formulas MathJax."""
    from jinja2 import DictLoader
    from nbconvert import HTMLExporter

    loaders = [DictLoader({"page.html.j2": PAGE})]
    exporter = HTMLExporter(extra_loaders=loaders, template_file="page.html.j2", exclude_anchor_links=True)
    text, _ = exporter.from_notebook_node(_with_alternative_texts(nb), {"metadata": {"name": title}})
    return text


def _with_alternative_texts(nb):
    """Return a copy in which the line of text that follows a figure is also its alternative text."""
    nb = copy.deepcopy(nb)
    for number, cell in enumerate(nb.cells):
        following_source = nb.cells[number + 1].source if number + 1 < len(nb.cells) else ""
        outputs = cell.get("outputs", [])
        for index, output in enumerate(outputs):
            if "image/png" in output.get("data", {}):
                printed = [later.text for later in outputs[index + 1 :] if later.output_type == "stream"]
                text = " ".join([*printed, following_source]).strip() or "a figure"
                output.metadata["alt"] = html.escape(re.sub(r"[`*]", "", text.splitlines()[0]))
    return nb


@command
def main(arguments=None):
    """Clean the named notebooks in place, or all of them; list what must not be committed."""
    failed = False
    for path in [Path(word) for word in arguments or ()] or paths():
        nb = clean(read(path))
        problems = refused(nb)
        for problem in problems:
            print(f"{path.name}: {problem}")
        if problems:
            failed = True
        elif text_of(nb) != path.read_text(encoding="utf-8"):
            write(nb, path)
            print(f"{path.name}: cleaned")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
