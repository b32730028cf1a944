"""Writes notebooks that contain the library, so that each runs on Colab or Kaggle from its one file, into dist/colab.

python -m tools.colab
"""

from __future__ import annotations

import base64
import hashlib
import io
import lzma
import re
import sys
import textwrap
import zipfile

import nbformat

from tools import make, notebooks, publish

ROOT = make.ROOT
FOLDER = ROOT / "dist" / "colab"
# What the notebooks need besides utils/ and the pages that they link to: 04 runs tools.train, and 06 reads the records.
NEEDED = ("utils/", "tools/__init__.py", "tools/train.py", "results/accuracy/", "data/README.md", "LICENSE")
WEIGHTS = "results/weights/"  # 1.6 MB, only for notebooks that call load_pretrained
LINK = re.compile(r"\[([^\]]+)\]\((?!\w+:|#)([^)#]+\.md)[^)]*\)")  # a link to another page of the suite
LINE = 120  # characters of the library's text

ABOUT = """\
This file contains the course's library, so you need to upload nothing else: on Colab *File > Upload notebook*, on
Kaggle *File > Import Notebook*. Then run the cells in order."""
LIBRARY = '''\
# @title The course's library, packed as text. Run this cell; you need not open it.
LIBRARY = """
TEXT
"""'''
SETUP = f"""\
import os
import sys
from base64 import b85decode
from hashlib import sha256
from lzma import decompress
from pathlib import Path
from shutil import unpack_archive

{publish.GOOGLE_DRIVE.replace("drive, files", "drive")}
suite = here / "FOLDER"
if not (suite / "utils" / "notebook.py").is_file():  # unpack the library, which the cell above contains
    packed = b85decode("".join(LIBRARY.split()))
    if sha256(packed).hexdigest() != "CHECKSUM":
        raise SystemExit("The library in the cell above is damaged: get this notebook again.")
    archive = suite.with_suffix(".zip")
    archive.write_bytes(decompress(packed))
    unpack_archive(archive, here)
    archive.unlink()

{publish.START}"""
# A cell with this metadata is folded on Colab, in JupyterLab and on Kaggle.
FOLDED = {"cellView": "form", "jupyter": {"source_hidden": True}, "_kg_hide-input": True, "tags": ["library"]}


def self_contained(nb):
    """Return a notebook with the library in a folded cell and a set-up cell that unpacks it, changed in place."""
    files = packed_files(nb)
    packed, folder = pack(files)
    text = "\n".join(textwrap.wrap(base64.b85encode(packed).decode(), LINE, break_on_hyphens=False))
    setup = SETUP.replace("FOLDER", folder).replace("CHECKSUM", hashlib.sha256(packed).hexdigest())
    library = nbformat.v4.new_code_cell(LIBRARY.replace("TEXT", text), id="library", metadata=FOLDED)
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            cell.source = LINK.sub(link, cell.source)
    nb.cells[0].source = publish.BADGES.sub(lambda match: f"{match[1]}{ABOUT}\n{match[2]}", nb.cells[0].source)
    position = publish.setup_position(nb)
    nb.cells[position].source = setup
    nb.cells.insert(position, library)
    return nb


def packed_files(nb):
    """Return the suite's files that this notebook needs, as paths inside the suite."""
    uses_weights = any(cell.cell_type == "code" and "load_pretrained(" in cell.source for cell in nb.cells)
    linked = {page(target) for cell in nb.cells for _, target in LINK.findall(cell.source)}
    needed = (*NEEDED, WEIGHTS) if uses_weights else NEEDED
    return [path for path in make.suite_files() if path in linked or path.as_posix().startswith(needed)]


def pack(files):
    """Return (bytes, folder): a compressed zip file of these files in a folder, whose name changes with its content."""
    contents = {path.as_posix(): (ROOT / path).read_bytes() for path in files}
    folder = f"{make.NAME}-{hashlib.sha256(repr(contents).encode()).hexdigest()[:8]}"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:  # not compressed: all files together are compressed better below
        for name, content in contents.items():
            archive.writestr(zipfile.ZipInfo(f"{folder}/{name}"), content)
    return lzma.compress(buffer.getvalue(), preset=9 | lzma.PRESET_EXTREME), folder


def page(target):
    """Return the path of a linked page inside the suite."""
    return (notebooks.FOLDER / target).resolve().relative_to(ROOT)


def link(match):
    """Return a link to the published page; if the suite is not published, the page's path in the library's folder."""
    text, path = match[1], page(match[2]).as_posix()
    address, branch = publish.settings()
    if address:
        return f"[{text}]({address}/blob/{branch}/{path})"
    return f"`{path}`" if text == path else f"{text} (`{path}`)"


def main():
    """Write all notebooks with the library inside, and print their sizes."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path in notebooks.paths():
        written = FOLDER / path.name
        notebooks.write(self_contained(publish.published(notebooks.read(path), path)), written)
        print(f"{written.relative_to(ROOT)}: {written.stat().st_size / 1e6:.1f} MB")
    print("Each of them runs on Colab, on Kaggle and in Jupyter without another file.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
