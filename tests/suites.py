"""Owns tiny suites for the tests of the tools: the real tools, notebooks of a few lines. Writes in tmp folders only."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tools import notebooks, publish

ROOT = Path(__file__).resolve().parents[1]
DATASETS = """\
import collections

Images = collections.namedtuple("Images", "name source fingerprint train test")


def load_cifar10(source="auto"):
    print(f"asked for {source}")
    return Images("tiny images", source, "0123456789abcdef", range(5), range(2))
"""
RUNS = "def all_runs():\n    return []\n"
NOTEBOOK = 'def start():\n    print("ready")\n'
README = "# The suite\n\n<!-- badges -->\n<!-- /badges -->\n\nWords.\n"


def make_suite(folder):
    """Lay out a suite: the real tools and settings, a stand-in for utils/, no notebook yet; return its folder."""
    for name in ("tools/bench", "utils/data", "notebooks"):
        (folder / name).mkdir(parents=True)
    for path in [*(ROOT / "tools").glob("*.py")]:
        shutil.copy(path, folder / "tools")
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "requirements.txt").write_text("")
    (folder / "README.md").write_text(README)
    (folder / "utils" / "__init__.py").write_text("")
    (folder / "utils" / "data" / "__init__.py").write_text("")
    (folder / "utils" / "data" / "cifar10.py").write_text(DATASETS)
    (folder / "utils" / "runs").mkdir()
    (folder / "utils" / "runs" / "__init__.py").write_text(RUNS)
    (folder / "utils" / "notebook.py").write_text(NOTEBOOK)
    return folder


def add_notebook(suite, name, *sources, seconds=None):
    """Write a notebook: a title, goals, the set-up cell, then these cells; a source that starts with # is prose."""
    cells = [new_markdown_cell(f"# {name}\n\nGoals:\n\n- one"), setup_cell()]
    for source in sources:
        if source.startswith("#"):
            cells.append(new_markdown_cell(source))
        else:
            cells.append(new_code_cell(source, metadata={} if seconds is None else {"seconds": seconds}))
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
    return subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, encoding="utf-8", timeout=120)
