"""Finds the submissions in a folder, unpacks them safely, and reads their notebooks without running them.

A submission is a folder or a zip file, named after the student, with one hand-in notebook and optionally a run folder.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import zipfile
import zlib
from pathlib import Path

from utils.runs import Run

MOST_FILES, MOST_BYTES = 5000, 2**30  # of an unpacked submission
LARGEST_JSON = 50 * 2**20  # bytes of a file that is read outside the child
NOT_READ = {"__MACOSX", ".DS_Store", ".ipynb_checkpoints", ".git"}
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
    """List the regular files below a folder; links, devices and what editors leave behind are left out."""
    files = []
    for top, folders, names in os.walk(folder):  # which does not follow links
        folders[:] = [name for name in folders if name not in NOT_READ]
        paths = [Path(top, name) for name in names if name not in NOT_READ]
        files += [path for path in paths if path.is_file() and not path.is_symlink()]
    return files


def unpack(submission: Submission, target: Path) -> Path:
    """Return the folder with a submission's files: its own, or `target`, a new one, if they come from a zip file."""
    files = [submission.path] if submission.path.is_file() else regular_files(submission.path)
    if len(files) != 1 or files[0].suffix.lower() != ".zip":
        _require_small([path.stat().st_size for path in files])
        return submission.path
    target.mkdir(parents=True)  # Moodle puts a student's zip file into a folder
    try:
        with zipfile.ZipFile(files[0]) as archive:
            _require_small([member.file_size for member in archive.infolist()])
            for member in archive.infolist():
                archive.extract(member, target)  # makes no link, and no file outside the folder
    except (zipfile.BadZipFile, zlib.error, OSError, RuntimeError, NotImplementedError, ValueError, EOFError) as error:
        raise Unusable(f"The zip file can't be unpacked: {str(error)[:200]}") from None
    return target


def _require_small(sizes: list[int]):
    if len(sizes) > MOST_FILES or sum(sizes) > MOST_BYTES:
        raise Unusable("The submission has too many files, or they are too large.")


def find_notebook(folder: Path) -> Path:
    """Return the hand-in notebook: handin.ipynb, or the only notebook."""
    found = [path for path in regular_files(folder) if path.suffix == ".ipynb"]
    named = [path for path in found if path.stem.lower().replace("-", "").replace("_", "").startswith("handin")]
    for candidates in (named, found):
        if len(candidates) == 1:
            return candidates[0]
    names = ", ".join(sorted(path.name for path in found)[:5])
    raise Unusable(f"There must be one notebook, handin.ipynb, but there are {len(found)}: {names or 'none'}.")


def find_run(folder: Path) -> Run | None:
    """Return the run of a submission, in the folder with a run.json, or None; of several, the first by name."""
    records = sorted(path for path in regular_files(folder) if path.name == "run.json")
    for path in records[0].parent.glob("*.json*") if records else ():
        _require_readable(path)
    return Run(records[0].parent) if records else None


def _require_readable(path: Path):
    if path.stat().st_size > LARGEST_JSON:
        raise Unusable(f"{path.name} is larger than 50 MB.")


def read_cells(path: Path) -> list[str]:
    """Return the source of a notebook's code cells."""
    _require_readable(path)
    try:
        cells = json.loads(path.read_bytes())["cells"]
        sources = [cell["source"] for cell in cells if cell["cell_type"] == "code"]
        return ["".join(source) for source in sources]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Unusable(f"{path.name} is damaged: it is not a notebook.") from None
