"""Tiny suites for the tests of the tools: the real tools, a stand-in for the library, notebooks of a few lines."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from patience import PATIENCE

from tools import notebooks, publish

ROOT = Path(__file__).resolve().parents[1]
LOADER = """\
import collections
import os

Images = collections.namedtuple("Images", "name source")


def load_cifar10():
    print("looking for the images", flush=True)
    return Images("tiny images", os.environ.get("CIFAR10_SOURCE", "cifar10"))
"""
RUNS = """\
import json
import os
from pathlib import Path


class Run:
    def __init__(self, folder):
        self.folder, self.name, self.data = folder, folder.name, "tiny images"
        self.evaluation = json.loads((folder / "evaluation.json").read_text())


def all_runs(folder=None):
    return [Run(path.parent) for path in Path(os.environ["COURSEWORK_RUNS"]).glob("*/evaluation.json")]
"""
STAND_INS = {
    "utils/__init__.py": "",
    "utils/data/__init__.py": "",
    "utils/data/cifar10.py": LOADER,
    "utils/runs/__init__.py": RUNS,
    "utils/report/__init__.py": "def write_report(name, folder):\n    return []\n",
    "utils/notebook.py": 'def start():\n    print("ready")\n',
    "requirements.txt": "",
    "README.md": "# The suite\n\n<!-- badges -->\n<!-- /badges -->\n\nWords.\n",
}


def make_suite(folder):
    """Lay out a suite: the real tools and settings, a stand-in for utils/, no notebook yet; return its folder."""
    for name in ("tools/bench", "notebooks"):
        (folder / name).mkdir(parents=True)
    for name, text in STAND_INS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    for path in (ROOT / "tools").glob("*.py"):
        shutil.copy(path, folder / "tools")
    shutil.copy(ROOT / "utils" / "errors.py", folder / "utils")
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def add_notebook(suite, name, *sources):
    """Write a notebook: a title, goals, the set-up cell, then these cells; a source that starts with # is prose."""
    cells = [new_markdown_cell(f"# {name}\n\nGoals:\n\n- one"), setup_cell()]
    for source in sources:
        new_cell = new_markdown_cell if source.startswith("#") else new_code_cell
        cells.append(new_cell(source))
    nb = new_notebook(cells=cells)
    for number, cell in enumerate(nb.cells):
        cell.id = f"{name[:2]}-{number}"
    path = suite / "notebooks" / f"{name}.ipynb"
    notebooks.write(nb, path)
    return path


def setup_cell():
    """Return a cell with the set-up template."""
    return new_code_cell(publish.setup_cell(), metadata={"tags": ["setup"]})


def run_python(*words, cwd, **environ):
    """Run Python on these words in a folder; return what subprocess.run does, output as text."""
    environ = {**os.environ, "PYTHONIOENCODING": "utf-8", **environ}
    environ.pop("MPLBACKEND", None)  # pytest's own; kernels bring theirs
    command = [sys.executable, *map(str, words)]
    return subprocess.run(
        command, cwd=cwd, env=environ, capture_output=True, text=True, encoding="utf-8", timeout=PATIENCE
    )


COLAB = {  # a stand-in for Google's package: a drive that is a folder, and uploads from a list of files
    "google/__init__.py": "",
    "google/colab/__init__.py": "",
    "google/colab/drive.py": 'import os\n\n\ndef mount(folder):\n    os.makedirs(f"{folder}/MyDrive", exist_ok=True)\n',
    "google/colab/files.py": """\
import os
import shutil


def upload():
    paths = os.environ["UPLOADS"].split(os.pathsep) if os.environ["UPLOADS"] else []
    return {shutil.copy(path, os.path.basename(path)): None for path in paths}
""",
}


def on_colab(content, source, upload=()):
    """Run cells in a folder as Colab does in /content; return what subprocess.run does."""
    for name, text in COLAB.items():
        path = content.parent / "colab" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    environ = {"PYTHONPATH": content.parent / "colab", "UPLOADS": os.pathsep.join(map(str, upload))}
    source = "import google.colab\n" + source.replace("/content", content.as_posix())
    return run_python("-c", source, cwd=content, **{name: str(value) for name, value in environ.items()})
