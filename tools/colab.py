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
import zipfile

import nbformat

from tools import make, notebooks, publish
from tools.command import command

ROOT = make.ROOT
FOLDER = ROOT / "dist" / "colab"
# What every notebook contains, besides the pages that it links to. 04 runs tools.train, and 06 reads results/accuracy.
PROGRAM = ("tools/__init__.py", "tools/command.py", "tools/train.py")
LIBRARY_FILES = ("utils/", *PROGRAM, "results/accuracy/", "data/README.md", "LICENSE")
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
from io import BytesIO
from lzma import decompress
from pathlib import Path
from zipfile import ZipFile

{publish.GOOGLE_DRIVE.replace("drive, files", "drive")}
text = "".join(LIBRARY.split()).encode()
if sha256(text).hexdigest() != "CHECKSUM":
    raise SystemExit("The library in the cell above is damaged: get this notebook again.")
archive = ZipFile(BytesIO(decompress(b85decode(text))))
for name in archive.namelist():
    if not (here / name).is_file():  # so that your changes stay
        archive.extract(name, here)

suite = here / "FOLDER"
{publish.START}"""
# A cell with this metadata is folded on Colab, in JupyterLab and on Kaggle.
FOLDED = {"cellView": "form", "jupyter": {"source_hidden": True}, "_kg_hide-input": True, "tags": ["library"]}


def self_contained(nb):
    """Return a notebook with the library in a folded cell and a set-up cell that unpacks it, changed in place."""
    folder = folder_name()
    packed = pack(needed_files(nb), folder)
    text = base64.b85encode(packed)
    setup = SETUP.replace("FOLDER", folder).replace("CHECKSUM", hashlib.sha256(text).hexdigest())
    lines = "\n".join(text[start : start + LINE].decode() for start in range(0, len(text), LINE))
    library = nbformat.v4.new_code_cell(LIBRARY.replace("TEXT", lines), id="library", metadata=FOLDED)
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            cell.source = LINK.sub(link, cell.source)
    nb.cells[0].source = publish.BADGES.sub(lambda match: f"{match[1]}{ABOUT}\n{match[2]}", nb.cells[0].source)
    position = publish.setup_position(nb)
    nb.cells[position].source = setup
    nb.cells.insert(position, library)
    return nb


def needed_files(nb):
    """List the suite's files that a notebook needs, as paths inside the suite."""
    code = "\n".join(cell.source for cell in nb.cells if cell.cell_type == "code")
    needed = (*LIBRARY_FILES, WEIGHTS) if "load_pretrained(" in code else LIBRARY_FILES
    linked = {page(target) for cell in nb.cells for _, target in LINK.findall(cell.source)}
    return [path for path in suite_files() if path.startswith(needed) or path in linked]


def suite_files():
    """List the paths of all files of the suite, with forward slashes, in order."""
    return sorted(path.as_posix() for path in make.tracked_files() or make.files_on_disk())


def folder_name():
    """Return the name of the folder into which the notebooks unpack this version of the library."""
    checksum = hashlib.sha256()
    for path in suite_files():
        if path.startswith((*LIBRARY_FILES, WEIGHTS)):
            checksum.update(path.encode() + (ROOT / path).read_bytes())
    return f"cifar10-coursework-{checksum.hexdigest()[:8]}"


def pack(files, folder):
    """Return a zip file of these files in a folder, as compressed bytes, the same whenever the files are the same."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:  # not compressed: all files together are compressed better below
        for path in files:
            archive.writestr(zipfile.ZipInfo(f"{folder}/{path}"), (ROOT / path).read_bytes())
    return lzma.compress(buffer.getvalue(), preset=9 | lzma.PRESET_EXTREME)


def page(target):
    """Return the path of a linked page inside the suite."""
    return (notebooks.FOLDER / target).resolve().relative_to(ROOT).as_posix()


def link(match):
    """Return a link to the published page; if the suite is not published, the page's path in the library's folder."""
    text, path = match[1], page(match[2])
    address, branch = publish.settings()
    if address:
        return f"[{text}]({address}/blob/{branch}/{path})"
    return f"`{path}`" if text == path else f"{text} (`{path}`)"


@command
def main(arguments=None):
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
