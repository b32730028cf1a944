"""Writes the address of the published suite into the badges of README and notebooks, and into the set-up cells.

python -m tools.publish https://github.com/OWNER/NAME
python -m tools.publish --check
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

from tools import notebooks
from tools.command import command
from tools.marks import between_marks

ROOT = Path(__file__).resolve().parents[1]
ADDRESS = re.compile(r"https://github\.com/([A-Za-z0-9][A-Za-z0-9-]*)/([A-Za-z0-9._-]+?)(?:\.git)?/?")
BADGES = between_marks("badges")
COLAB = "https://colab.research.google.com"

# The first code cell of every notebook, tagged "setup". It uses the standard library only: on Colab the suite is not
# there yet. An uploaded zip comes before the clone, because somebody chose to upload it.
SETUP = """\
import subprocess
import sys
from pathlib import Path
from shutil import unpack_archive
from zipfile import ZipFile, is_zipfile

repository = REPOSITORY  # where the suite is published; `make publish` writes the address
branch = BRANCH

here = Path.cwd()
suite = here.parent  # on your own computer this notebook is in the suite's folder notebooks/
if not (suite / "utils" / "notebook.py").is_file():
    unpacked = "*/utils/notebook.py"  # on Colab the suite comes from an uploaded zip file, or from the repository
    archives = sorted(here.glob("*.zip"))
    for archive in filter(is_zipfile, archives):
        if not any(here.glob(unpacked)) and any(Path(name).match(unpacked) for name in ZipFile(archive).namelist()):
            unpack_archive(archive, here)
    if repository and not any(here.glob(unpacked)):
        subprocess.run(["git", "clone", "--depth=1", "--branch", branch, repository, here / "cifar10-coursework"])
    if not any(here.glob(unpacked)):
        for archive in archives:
            if not is_zipfile(archive):
                raise SystemExit(f"{archive.name} is incomplete: wait until it is uploaded, then run this cell again.")
        raise SystemExit("Drop cifar10-coursework.zip into the Files pane on the left, then run this cell again.")
    suite = next(here.glob(unpacked)).parents[1]

sys.path.insert(0, str(suite))
from utils.notebook import start

start()"""

UPLOAD = """\
On Colab: *File > Upload notebook*, then drop `cifar10-coursework.zip` (made by `make zip`) into the *Files* pane and
run the set-up cell."""


def settings():
    """Return the address under which the suite is published ("" if it is not) and its branch."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = text.partition("[tool.coursework]")[2].partition("\n[")[0]
    values = dict(re.findall(r'^(repository|branch) = "(.*)"', section, re.MULTILINE))
    return check_address(values["repository"]), values["branch"]


def check_address(address):
    """Return the address as https://github.com/OWNER/NAME, or "" for none; refuse anything else."""
    address = address.strip()
    if not address:
        return ""
    match = ADDRESS.fullmatch(address)
    if match is None:
        what = f"'{address}' is not an address that Colab can open notebooks from."
        raise SystemExit(f"{what}\n  next:  Give one like https://github.com/OWNER/NAME.")
    return f"https://github.com/{match[1]}/{match[2]}"


def write_address(address):
    """Write a checked address into pyproject.toml."""
    path = ROOT / "pyproject.toml"
    text, count = re.subn(r'(?m)^repository = ".*"', f'repository = "{address}"', path.read_text(encoding="utf-8"))
    if count != 1:
        raise SystemExit("pyproject.toml must have exactly one line `repository = ...`.\n  next:  Put it back.")
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
    """Return the top of a notebook: its Colab badge, or how to upload it to Colab."""
    address, _ = settings()
    if not address:
        return _marked(UPLOAD)
    return _marked(f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]({colab_link(path)})")


def readme_badges():
    """Return README's badges: the tests' and a link for each notebook, or how to upload them to Colab."""
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
    """Return a notebook with the current badge and the current set-up cell, changed in place."""
    first = nb.cells[0]
    badge = notebook_badge(path)
    if BADGES.search(first.source):
        first.source = BADGES.sub(lambda _: badge, first.source, count=1)
    else:
        first.source = f"{badge}\n\n{first.source}"
    for cell in nb.cells:
        if "setup" in cell.metadata.get("tags", []):
            cell.source = setup_cell()
    return nb


def stale_files():
    """Return {path: its text as it should be} of the files whose badges or set-up cells are out of date."""
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.exists() else ""
    if not BADGES.search(text):
        what = "README.md has no marks for the badges."
        raise SystemExit(f"{what}\n  next:  Put <!-- badges --> and <!-- /badges --> on lines of their own.")
    current = {readme: text}
    wanted = {readme: BADGES.sub(lambda _: readme_badges(), text, count=1)}
    for path in notebooks.paths():
        current[path] = notebooks.text_of(notebooks.read(path))
        wanted[path] = notebooks.text_of(published(notebooks.read(path), path))
    return {path: wanted[path] for path in wanted if wanted[path] != current[path]}


@command
def main(arguments=None):
    """Write the address into all badges and set-up cells, or with --check only list those that are out of date."""
    parser = argparse.ArgumentParser(prog="python -m tools.publish", description=main.__doc__)
    parser.add_argument("address", nargs="?", help="https://github.com/OWNER/NAME, kept in pyproject.toml; '' for none")
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if a file is out of date")
    options = parser.parse_args(arguments)
    if options.address is not None and not options.check:
        write_address(check_address(options.address))
    files = stale_files()
    for path, text in files.items():
        if options.check:
            print(f"{path.relative_to(ROOT)}: out of date, run make publish")
        else:
            path.write_text(text, encoding="utf-8", newline="\n")
            print(f"{path.relative_to(ROOT)}: written")
    if not files:
        print(f"Badges and set-up cells are up to date; address: {settings()[0] or 'none, notebooks are uploaded'}.")
    return 1 if options.check and files else 0


if __name__ == "__main__":
    sys.exit(main())
