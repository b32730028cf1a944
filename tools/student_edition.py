"""Makes the student edition from the complete one: a folder and a zip file for the classroom and for Colab.

    python -m tools.student_edition [FOLDER]      # default: dist

In the notebooks, the solutions are cut out as tools/student.py describes, and all outputs are cleared. Answers, rubric,
teaching guide, tests and marking stay behind. The library, the weights and the records are part of it. In Markdown, the
text between `<!-- teachers -->` and `<!-- /teachers -->` is left out, and the text of `<!-- students: ... -->` appears.
The same complete edition always gives the same files, byte by byte.
"""

from __future__ import annotations

import argparse
import io
import posixpath
import re
import shutil
import sys
import zipfile
from pathlib import Path

import nbformat

from tools import make, notebooks
from tools.student import solutions, stub
from utils.files import write_bytes

ROOT = Path(__file__).resolve().parents[1]
TITLE = "cifar10-coursework"
KEPT_BACK = (
    *(".ci", ".devcontainer", ".github", ".gitattributes", "conftest.py", "tests", "CONTRIBUTING.md", "CHANGELOG.md"),
    *("docs/answers.md", "docs/rubric.md", "docs/teaching.md", "docs/sample"),
    *("docs/developers.md", "docs/lab-notes.md"),
    *("tools/grade.py", "tools/grading", "tools/student.py", "tools/student_edition.py"),
    *("tools/document.py", "tools/pictures.py", "tools/rules.py"),
)
KEPT_TAGS = ("setup", "check", "predict", notebooks.SKIPPED)
FOR_TEACHERS = re.compile(r"(?s)<!-- teachers -->.*?<!-- /teachers -->\n*")
FOR_STUDENTS = re.compile(r"(?s)<!-- students: (.*?) -->")
COMMAND = re.compile(r"`make (\w+)[ `]")
LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^)\s]+)\)")
ONE_DAY = (2026, 1, 1, 0, 0, 0)  # the time of every file in the zip file, the same each time


def main(arguments=None):
    """Make the student edition: FOLDER/student and FOLDER/cifar10-coursework.zip."""
    parser = argparse.ArgumentParser(prog="python -m tools.student_edition", description=main.__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "dist")
    folder = parser.parse_args(arguments).folder
    files = edition()
    write_folder(folder / "student", files)
    write_bytes(folder / f"{TITLE}.zip", packed(files))
    print(f"{folder / 'student'} and {folder / TITLE}.zip: {len(files)} files")
    return 0


def edition() -> dict[str, bytes]:
    """Return {name: content} of all files of the student edition."""
    names = sorted(path.as_posix() for path in make.tracked_files() or make.files_on_disk())
    kept = [name for name in names if not any(name == path or is_below(name, path) for path in KEPT_BACK)]
    files = {}
    for name in kept:
        content = (ROOT / name).read_bytes()
        if name.startswith("notebooks/") and name.endswith(".ipynb"):
            nb = without_solutions(notebooks.read(ROOT / name))
            for cell in nb.cells:
                if cell.cell_type == "markdown":
                    cell.source = for_students(name, cell.source, set(kept))
            content = notebooks.text_of(nb).encode()
        elif name.endswith(".md"):
            content = for_students(name, content.decode(), set(kept)).encode()
        files[name] = content
    return files


def is_below(name: str, folder: str) -> bool:
    """Tell whether a file is in a folder, at any depth."""
    return name.startswith(f"{folder}/")


def without_solutions(nb):
    """Return a notebook without solutions, hidden cells and outputs, changed in place."""
    nb.cells = [cell for cell in nb.cells if "hidden" not in cell.metadata.get("tags", [])]
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            if names := solutions(cell):
                cell.source = stub(cell.source, names)
        tags = [tag for tag in cell.metadata.get("tags", []) if tag in KEPT_TAGS]
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
    return nb


def for_students(name: str, text: str, kept: set[str]) -> str:
    """Return Markdown without what is for teachers only; links to files that are kept back become text.

    A row of a table that explains a command which the student edition lacks is left out, too.
    """
    text = FOR_STUDENTS.sub(r"\1", FOR_TEACHERS.sub("", text))
    missing = {target for target, path in make.NEEDED.items() if path not in kept and not is_folder(path, kept)}
    rows = text.splitlines(keepends=True)
    text = "".join(row for row in rows if not (row.startswith("|") and missing & set(COMMAND.findall(row))))

    def checked(match):
        target = match[2].partition("#")[0]
        if not target or ":" in target:
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
        return match[0] if path in kept or is_folder(path, kept) else match[1]

    return LINK.sub(checked, text)


def is_folder(path: str, files: set[str]) -> bool:
    """Tell whether one of the files is in this folder."""
    return path == "." or any(is_below(name, path) for name in files)


def write_folder(folder: Path, files: dict[str, bytes]):
    """Replace a folder of an earlier student edition by these files."""
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for name, content in files.items():
        (partial / name).parent.mkdir(parents=True, exist_ok=True)
        (partial / name).write_bytes(content)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def packed(files: dict[str, bytes]) -> bytes:
    """Return the files as a zip file, in which the notebooks' set-up cell finds the library."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in sorted(files.items()):
            member = zipfile.ZipInfo(f"{TITLE}/{name}", ONE_DAY)
            member.external_attr = 0o100644 << 16
            archive.writestr(member, content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


if __name__ == "__main__":
    sys.exit(main())
