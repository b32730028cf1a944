"""Finds the submissions in a folder, unpacks them safely, and reads their notebooks without running them.

A submission is a folder or a zip file, named after the student, with one hand-in notebook and optionally a run folder.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import json
import os
import re
import shutil
import zipfile
from pathlib import Path, PurePosixPath

MOST_FILES, MOST_BYTES = 5000, 2**30  # of an unpacked submission
LARGEST_NOTEBOOK = 50 * 2**20  # bytes
NOT_READ = re.compile(r"(^|/)(__MACOSX|\.ipynb_checkpoints|\.git)(/|$)|(^|/)\.DS_Store$")
MOODLE = re.compile(r"^(?P<student>.+?)_(?P<id>\d+)_assignsubmission_(file|onlinetext)")
CANVAS = re.compile(r"^(?P<student>[^_\W]+)_(LATE_)?(?P<id>\d+)_\d+(_|$)")


class Unusable(Exception):
    """A submission can't be marked; the text is the reason."""


@dataclasses.dataclass(frozen=True)
class Submission:
    """A submission as it lies in the folder of all submissions."""

    path: Path
    student: str
    id: str | None  # the student's number at Moodle or Canvas, from the name of the file

    @property
    def key(self) -> str:
        """The name of the folder of its results."""
        name = re.sub(r"[^\w.-]+", "_", self.path.stem if self.path.is_file() else self.path.name).strip("._")
        return f"{name[:60]}-{hashlib.sha256(os.fsencode(self.path.name)).hexdigest()[:6]}"

    def checksum(self) -> str:
        """Return a hash of its files' names and content, 16 hexadecimal digits."""
        digest = hashlib.sha256()
        for path in [self.path] if self.path.is_file() else sorted(regular_files(self.path)):
            digest.update(os.fsencode(f"{path.relative_to(self.path)}\0"))
            with open(path, "rb") as file:
                while chunk := file.read(2**20):
                    digest.update(chunk)
        return digest.hexdigest()[:16]


def find_submissions(folder: Path) -> list[Submission]:
    """List the submissions in a folder, in the order of their names."""
    found = []
    for path in sorted(folder.iterdir()):
        is_zip = path.suffix.lower() == ".zip" and path.is_file()
        if path.name.startswith((".", "__")) or path.is_symlink() or not (is_zip or path.is_dir()):
            continue
        name = path.stem if is_zip else path.name
        match = MOODLE.match(name) or CANVAS.match(name)
        found.append(Submission(path, *(match.group("student", "id") if match else (name, None))))
    return found


def regular_files(folder: Path) -> list[Path]:
    """List the regular files below a folder; links and devices are left out."""
    files = []
    for top, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not os.path.islink(os.path.join(top, name))]
        paths = [Path(top, name) for name in names]
        files += [path for path in paths if path.is_file() and not path.is_symlink()]
    return files


def unpack(submission: Submission, target: Path):
    """Copy a submission's files into a new folder; refuse what is too large or leads out of it."""
    target.mkdir(parents=True)
    if submission.path.is_file():
        _unpack_zip(submission.path, target)
        return
    files = [path for path in regular_files(submission.path) if not NOT_READ.search(path.as_posix())]
    if len(files) > MOST_FILES or sum(path.stat().st_size for path in files) > MOST_BYTES:
        raise Unusable("The submission has too many files, or they are too large.")
    for path in files:
        copy = target / path.relative_to(submission.path)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    inner = [path for path in files if path.suffix.lower() == ".zip"]
    if len(files) == 1 and inner:  # Moodle puts a student's zip file into a folder
        _unpack_zip(inner[0], target)


def _unpack_zip(path, target):
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if len(members) > MOST_FILES or sum(member.file_size for member in members) > MOST_BYTES:
                raise Unusable("The submission has too many files, or they are too large.")
            for member in members:
                _unpack_member(archive, member, target)
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, ValueError, EOFError) as error:
        raise Unusable(f"The zip file can't be unpacked: {str(error)[:200]}") from None


def _unpack_member(archive, member, target):
    name = member.filename.replace("\\", "/")
    parts = PurePosixPath(name).parts
    is_link = (member.external_attr >> 16) & 0o170000 == 0o120000
    if is_link or NOT_READ.search(name) or not parts or ".." in parts or name.startswith("/") or ":" in parts[0]:
        return
    path = target.joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    left = member.file_size  # a member may be larger than its header says
    with archive.open(member) as source, open(path, "wb") as copy:
        while chunk := source.read(2**20):
            left -= len(chunk)
            if left < 0:
                raise Unusable("A file in the zip file is larger than the zip file says.")
            copy.write(chunk)


def find_notebook(folder: Path) -> Path:
    """Return the hand-in notebook: handin.ipynb, or the only notebook."""
    found = [path for path in regular_files(folder) if path.suffix == ".ipynb"]
    named = [path for path in found if path.stem.lower().replace("-", "").replace("_", "").startswith("handin")]
    for candidates in (named, found):
        if len(candidates) == 1:
            return candidates[0]
    names = ", ".join(sorted(path.name for path in found)[:5])
    raise Unusable(f"There must be one notebook, handin.ipynb, but there are {len(found)}: {names or 'none'}.")


def find_run(folder: Path) -> Path | None:
    """Return the run folder of a submission, the one with a run.json, or None; of several, the first by name."""
    records = sorted(path for path in regular_files(folder) if path.name == "run.json")
    return records[0].parent if records else None


def read_cells(path: Path) -> list[str]:
    """Return the source of a notebook's code cells."""
    if path.stat().st_size > LARGEST_NOTEBOOK:
        raise Unusable("The notebook is larger than 50 MB.")
    try:
        cells = json.loads(path.read_bytes())["cells"]
        sources = [cell["source"] for cell in cells if cell["cell_type"] == "code"]
        return ["".join(source) for source in sources]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Unusable(f"{path.name} is damaged: it is not a notebook.") from None


def syntax_trees(cells: list[str]) -> list[ast.Module | None]:
    """Return the syntax tree of each cell, or None for a cell that can't be read as Python."""
    trees = []
    for source in cells:
        text = re.sub(r"(?m)^(\s*)([%!?].*)$", r"\1pass", source)
        try:
            tree = ast.parse(text)
            ast.unparse(tree)  # a tree that is nested too deeply for this can't be searched either
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            tree = None
        trees.append(tree)
    return trees
