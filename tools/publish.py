"""Owns the publishing address's way from pyproject.toml into badges and set-up cells. Fetches and uploads nothing."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

from tools import notebooks
from tools.marks import place_of

ROOT = Path(__file__).resolve().parents[1]
ADDRESS = re.compile(r"https://github\.com/([A-Za-z0-9][A-Za-z0-9-]*)/([A-Za-z0-9._-]+?)(?:\.git)?/?")
BADGES = place_of("badges")
COLAB = "https://colab.research.google.com"

# The first code cell of every notebook, tagged "setup". It stands on its own: on Colab nothing else is there yet.
SETUP = """\
import subprocess
import sys
from pathlib import Path
from shutil import unpack_archive

repository, branch, mark = REPOSITORY, BRANCH, "utils/notebook.py"  # `make publish` writes the address
here = Path.cwd()
suite = [p for p in (here, *here.parents) if (p / mark).is_file()] or [p.parents[1] for p in here.glob("*/" + mark)]
if not suite:
    if repository:
        subprocess.run(["git", "clone", "--depth=1", "--branch", branch, repository, "cifar10-coursework"])
    for archive in (*here.glob("cifar10-coursework*.zip"), *here.glob(f"*-{branch}.zip")):
        unpack_archive(archive, here)
    suite = [p.parents[1] for p in here.glob("*/" + mark)]
if not suite:
    raise FileNotFoundError("Upload cifar10-coursework.zip to this folder, then run this cell again.")
sys.path.insert(0, str(suite[0]))
from utils.notebook import start

start()"""

UPLOAD = """\
On Colab: *File > Upload notebook*, then drop `cifar10-coursework.zip` (made by `make zip`; the repository's
*Download ZIP* does as well) into the *Files* pane and run the set-up cell."""


def settings():
    """Return the publishing address, "" when there is none, and its branch."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = text.partition("[tool.coursework]")[2].partition("\n[")[0]
    found = dict(re.findall(r'^(repository|branch) = "(.*)"', section, re.MULTILINE))
    return check_address(found["repository"]), found["branch"]


def check_address(address):
    """Return the address as https://github.com/OWNER/NAME, or "" for none; stop at anything else."""
    found = ADDRESS.fullmatch(address.strip())
    if address.strip() and not found:
        what = f"'{address}' is no address that Colab can open notebooks from."
        raise SystemExit(f"{what}\n  next:  Give one like https://github.com/OWNER/NAME.")
    return "https://github.com/{}/{}".format(*found.groups()) if found else ""


def write_address(address):
    """Write a checked address into pyproject.toml."""
    path = ROOT / "pyproject.toml"
    text, count = re.subn(r'(?m)^repository = ".*"', f'repository = "{address}"', path.read_text(encoding="utf-8"))
    if count != 1:
        raise SystemExit("pyproject.toml has no line `repository = ...` of its own.\n  next:  Put it back.")
    path.write_text(text, encoding="utf-8", newline="\n")


def setup_cell():
    """Return the source of the set-up cell, the same in every notebook."""
    address, branch = settings()
    return SETUP.replace("REPOSITORY", json.dumps(address)).replace("BRANCH", json.dumps(branch))


def colab_link(path):
    """Return the address that opens a notebook of the published suite on Colab."""
    address, branch = settings()
    return f"{COLAB}/github/{address.partition('github.com/')[2]}/blob/{branch}/notebooks/{path.name}"


def notebook_badge(path):
    """Return what opens a notebook: its Colab badge, or how to upload it."""
    badge = f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]({colab_link(path)})"
    return _marked(badge if settings()[0] else UPLOAD)


def readme_badges():
    """Return README's badges: the tests', and one link for each notebook; or how to upload them."""
    address, branch = settings()
    if not address:
        return _marked(UPLOAD)
    workflow = f"{address}/actions/workflows/ci.yml"
    links = [f"[{path.stem[:2]}]({colab_link(path)})" for path in notebooks.paths()]
    tests = f"[![tests]({workflow}/badge.svg?branch={branch})]({workflow})"
    return _marked(f"{tests}\nOpen on Colab: {' · '.join(links)}")


def _marked(text):
    return f"<!-- badges -->\n{text}\n<!-- /badges -->"


def published(nb, path):
    """Return a notebook with the right badge on top and the right set-up cell, changed in place."""
    first = nb.cells[0]
    badge = notebook_badge(path)
    first.source = BADGES.sub(lambda _: badge, first.source, count=1)
    if not BADGES.search(first.source):
        first.source = f"{badge}\n\n{first.source}"
    for cell in nb.cells:
        if "setup" in cell.metadata.get("tags", []):
            cell.source = setup_cell()
    return nb


def stale():
    """Return {path: its text as it should be} of the files whose badges or set-up cells are out of date."""
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.exists() else ""
    if not BADGES.search(text):
        raise SystemExit(
            "README.md has no place for badges.\n  next:  Put <!-- badges --> and <!-- /badges --> into it."
        )
    pairs = {readme: (text, BADGES.sub(lambda _: readme_badges(), text, count=1))}
    for path in notebooks.paths():
        now, wanted = (notebooks.text_of(change(notebooks.read(path), path)) for change in (_as_it_is, published))
        pairs[path] = now, wanted
    return {path: wanted for path, (now, wanted) in pairs.items() if now != wanted}


def _as_it_is(nb, path):
    return nb


def main(words):
    """Write the address everywhere, or with --check only say where it is out of date."""
    parser = argparse.ArgumentParser(prog="python -m tools.publish", description=main.__doc__)
    parser.add_argument("address", nargs="?", help="https://github.com/OWNER/NAME, kept in pyproject.toml; '' for none")
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if something is stale")
    options = parser.parse_args(words)
    if options.address is not None and not options.check:
        write_address(check_address(options.address))
    files = stale()
    for path, text in files.items():
        if not options.check:
            path.write_text(text, encoding="utf-8", newline="\n")
        print(f"{path.relative_to(ROOT)}: {'out of date, run make publish' if options.check else 'written'}")
    if not files:
        print(f"Badges and set-up cells are up to date: {settings()[0] or 'not published, opened by upload'}.")
    return int(options.check and bool(files))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
