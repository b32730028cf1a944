"""Where the pages of the site stand: each at the place of its source, README.md as index.html.

target("docs/guide.md")                  # "docs/guide.html"
target("utils/models")                   # "utils/models/index.html", the page of a room of the library
target("utils/models/gated.py")          # "utils/models/gated.py.html", the source of a module
"""

from __future__ import annotations

import os
import urllib.parse
from pathlib import Path, PurePosixPath

from tools import notebooks

ROOT = Path(__file__).resolve().parents[2]
FRONT, START, LIBRARY = "README.md", "notebooks/README.md", "utils"
GUIDE, GLOSSARY, RESULTS = "docs/guide.md", "docs/glossary.md", "results/README.md"
# A document in docs/ that is named nowhere here stands in the handbook, too.
HANDBOOK = (GUIDE, GLOSSARY, "docs/assignment.md", "docs/rubric.md", "docs/answers.md", "docs/teaching.md")
MEASURED = (RESULTS, "results/speed/README.md", "data/README.md")
PROJECT = ("docs/developers.md", "docs/lab-notes.md", "CONTRIBUTING.md", "CHANGELOG.md")
ROOM = ":room"  # ends the name of the page of a room that is one module, since that module's source is a page, too


def course() -> list[str]:
    """List the pages of the course, in the order of reading."""
    return [FRONT, START, *(path.relative_to(ROOT).as_posix() for path in notebooks.paths())]


def groups(rooms) -> dict[str, list[str]]:
    """Return the list of all pages, in groups, but without those that show the source of a file."""
    others = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md"))
    return {
        "The course": course(),
        "Handbook": _existing([*HANDBOOK, *(source for source in others if source not in HANDBOOK + PROJECT)]),
        "Results and data": _existing(MEASURED),
        "The library": [LIBRARY, *rooms],
        "The project": _existing(PROJECT),
    }


def _existing(sources):
    return [source for source in sources if (ROOT / source).is_file()]


def target(source: str) -> str:
    """Return the file of the site that shows this file or folder of the repository."""
    path = PurePosixPath(source.removesuffix(ROOM))
    if path.name == "README.md" or (ROOT / path).is_dir():
        return ((path.parent if path.suffix else path) / "index.html").as_posix()
    if path.suffix in (".md", ".ipynb") or source.endswith(ROOM):
        return path.with_suffix(".html").as_posix()
    return f"{path}.html"


def relative(to: str, here: str) -> str:
    """Return the address of one file of the site as a link on another."""
    return urllib.parse.quote(os.path.relpath(to, PurePosixPath(here).parent).replace(os.sep, "/"))


def meant(link: str, source: str) -> str:
    """Return the path in the repository that a link of this source means."""
    start = source.removesuffix(ROOM)
    folder = PurePosixPath(start) if (ROOT / start).is_dir() else PurePosixPath(start).parent
    path = os.path.normpath(folder / urllib.parse.unquote(link)).replace(os.sep, "/")
    return f"{path}/README.md" if (ROOT / path / "README.md").is_file() else path
