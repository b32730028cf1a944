"""Owns what a committed notebook looks like as a file: reading, cleaning, writing. Does not read its prose or code."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "notebooks"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
WIDGET = "application/vnd.jupyter.widget-view+json"
SKIPPED = "skip-execution"  # the tag of a cell that is never run
# Homes on any system; the suite's folder and the home on this one come on top.
HOMES = r"(?<![\w.])/(?:home|Users)/[\w.-]+/|(?<![\w.])/root/|\b[A-Za-z]:\\+Users\\+"


def paths(only=(), folder=None):
    """List the suite's notebooks in order, or those whose names start with one of the words in `only`."""
    found = sorted((folder or FOLDER).glob("[0-9]*.ipynb"))
    return [path for path in found if not only or path.name.startswith(tuple(only))]


def read(path):
    """Read a notebook; what its cells lack by its format (ids) is filled in the same way every time."""
    data = json.loads(Path(path).read_text(encoding="utf-8"))
    seen = set()
    for number, cell in enumerate(data["cells"]):
        if not cell.get("id") or cell["id"] in seen:
            text = "".join(cell["source"])
            cell["id"] = hashlib.sha256(f"{number} {text}".encode()).hexdigest()[:8]
        seen.add(cell["id"])
    data["nbformat"], data["nbformat_minor"] = 4, 5
    return nbformat.v4.to_notebook_json(data)


def text_of(nb):
    """Return a notebook as the text of its file; the same notebook always gives the same text."""
    nbformat.validate(nb)
    return nbformat.v4.writes(nb).rstrip("\n") + "\n"


def write(nb, path):
    """Write a notebook in one step, so that a reader never finds half of it."""
    part = Path(path).with_suffix(".part")
    part.write_text(text_of(nb), encoding="utf-8", newline="\n")
    os.replace(part, path)


def is_run(cell):
    """Say whether a cell is code that a run executes."""
    return cell.cell_type == "code" and bool(cell.source.strip()) and SKIPPED not in cell.metadata.get("tags", [])


def clean(nb):
    """Keep of a notebook only what a reader needs and a diff can show; return it, changed in place."""
    nb.metadata = nbformat.from_dict(METADATA)
    count = 0
    for cell in nb.cells:
        kept = {key: cell.metadata[key] for key in ("tags", "seconds") if cell.metadata.get(key) not in (None, [])}
        if "seconds" in kept:
            kept["seconds"] = round(float(kept["seconds"]), 1)
        cell.metadata = nbformat.from_dict(kept)
        cell.source = cell.source.rstrip("\n")
        if cell.cell_type == "code":
            cell.outputs = _clean_outputs(cell.outputs)
            if cell.execution_count is not None:
                count += 1
                cell.execution_count = count
            for output in cell.outputs:
                if output.output_type == "execute_result":
                    output.execution_count = cell.execution_count
    return nb


def _clean_outputs(outputs):
    kept = []
    for output in outputs:
        if "data" in output:
            output.data.pop(WIDGET, None)
            if not output.data:
                continue
        is_more = output.output_type == "stream" and kept and kept[-1].get("name") == output.name
        if is_more:
            kept[-1].text += output.text
        else:
            kept.append(output)
    for output in kept:
        if output.output_type == "stream":
            output.text = last_frames(output.text)
    return kept


def last_frames(text):
    """Return what a terminal would show at the end: of a line rewritten by carriage returns, the last writing."""
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines)


def texts(cell):
    """Yield (place, text) of all that a cell holds as text: its source, and every output."""
    yield "source", cell.source
    for output in cell.get("outputs", []):
        if output.output_type == "stream":
            yield output.name, output.text
        elif output.output_type == "error":
            yield "error", f"{output.ename}: {output.evalue}"
        else:
            yield from ((kind, str(data)) for kind, data in output.data.items() if not kind.startswith("image/png"))


def refused(nb):
    """List what no committed notebook may hold: errors, stderr, scripts, and paths of somebody's machine."""
    own = [re.escape(folder + os.sep) for folder in (str(ROOT), str(Path.home())) if len(folder) > 1]
    machine = re.compile("|".join([HOMES, *own]))
    problems = []
    for number, cell in enumerate(nb.cells, 1):
        for place, text in texts(cell):
            if place in ("stderr", "error"):
                problems.append(f"cell {number}: {place} output: {text.strip()[-80:]}")
            if place == "application/javascript" or (place != "source" and "<script" in text):
                problems.append(f"cell {number}: a script in its output")
            if found := machine.search(text):
                problems.append(f"cell {number}: a path of this machine in its {place}: {found.group()}")
    return problems


def main(words):
    """Clean the named notebooks in place, or all; say what is refused in them."""
    failed = False
    for path in [Path(word) for word in words] or paths():
        nb = clean(read(path))
        problems = refused(nb)
        for problem in problems:
            print(f"{path.name}: {problem}")
        if not problems and text_of(nb) != path.read_text(encoding="utf-8"):
            write(nb, path)
            print(f"{path.name}: cleaned")
        failed |= bool(problems)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
