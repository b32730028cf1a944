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
ON_GPU = ("04", "05", "06")  # Colab opens these on a machine with a GPU

# The set-up cell, tagged "setup", is the first code cell of every notebook. It uses only the standard library, because
# the suite is not found yet. FETCH depends on whether the suite is published. tools/colab.py uses the other parts, too.
GOOGLE_DRIVE = """\
use_drive = False  # @param {type:"boolean"}
# On Colab, True keeps the course and your work on your Google Drive. Elsewhere it changes nothing.

on_colab = "google.colab" in sys.modules
here = Path("/content") if on_colab else Path.cwd()
my_drive = Path("/content/drive/MyDrive/cifar10-coursework")
if on_colab:
    from google.colab import drive, files
if on_colab and use_drive:
    drive.mount("/content/drive")
    my_drive.mkdir(exist_ok=True)
    os.chdir(my_drive)  # what you upload and what this notebook writes is kept there
"""
START = """\
sys.path.insert(0, str(suite))
from utils.notebook import start

start()"""
SETUP = f"""\
import os
import sys
from pathlib import Path
from shutil import unpack_archive
from zipfile import is_zipfile

{GOOGLE_DRIVE}
library = [*here.parent.glob("utils/notebook.py"), *sorted(here.glob("*/utils/notebook.py"))]
library += my_drive.glob("utils/notebook.py")
if not library:  # unpack the newest zip file of the course
    zips = [path for place in (here, my_drive, my_drive.parent) for path in place.glob("cifar10-coursework*.zip")]
FETCH
    zips = [path for path in zips if is_zipfile(path)]  # not if its upload has not finished
    if zips:
        unpack_archive(max(zips, key=os.path.getmtime), here)
    library = sorted(here.glob("*/utils/notebook.py"))
if not library:
    raise SystemExit("cifar10-coursework.zip is missing or not complete: upload all of it, then run this cell again.")

suite = library[0].parents[1]
{START}"""
ASK = """\
    if on_colab and not zips:
        print("Choose cifar10-coursework.zip:")
        zips = [Path(name) for name in files.upload()]"""
CLONE = """\
    if not zips:
        clone = ["git", "clone", "--depth=1", "--branch", BRANCH, ADDRESS]
        subprocess.run([*clone, here / "cifar10-coursework"])"""

UPLOAD = """\
On Colab: *File > Upload notebook*, then run the set-up cell. It asks for `cifar10-coursework.zip`, a
file from your teacher. (`make zip` makes it.)"""


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
    if not address:
        return SETUP.replace("FETCH", ASK)
    fetch = CLONE.replace("BRANCH", json.dumps(branch)).replace("ADDRESS", json.dumps(address))
    source = SETUP.replace("FETCH", fetch).replace("import drive, files", "import drive")
    return source.replace("import sys\n", "import subprocess\nimport sys\n", 1)


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
    nb.cells[setup_position(nb)].source = setup_cell()
    if path.stem[:2] in ON_GPU:
        nb.metadata["accelerator"] = "GPU"
    return nb


def setup_position(nb):
    """Return the position of a notebook's set-up cell."""
    return next(number for number, cell in enumerate(nb.cells) if "setup" in cell.metadata.get("tags", []))


def stale_files():
    """Return {path: its text as it should be} of the files whose badges or set-up cells are out of date."""
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.exists() else ""
    if not BADGES.search(text):
        what = "README.md has no marks for the badges."
        raise SystemExit(f"{what}\n  next:  Put <!-- badges --> and <!-- /badges --> on separate lines.")
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
