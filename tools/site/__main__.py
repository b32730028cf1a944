"""Builds the website into the folder site/ and checks its links.

python -m tools.site                build site/ from what is committed; needs no network
python -m tools.site --to FOLDER    build it somewhere else
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.command import command
from tools.site.build import Site
from tools.site.check import problems
from tools.site.places import ROOT


@command
def main(arguments=None) -> int:
    """Build the site, check it, and say where it is."""
    parser = argparse.ArgumentParser(prog="python -m tools.site", description=main.__doc__)
    parser.add_argument("--to", type=Path, default=ROOT / "site", metavar="FOLDER", help="default: site")
    options = parser.parse_args(arguments)
    site = Site(options.to)
    site.build()
    found = problems(options.to)
    for problem in found:
        print(problem)
    size = sum(len(content) for content in site.files.values())
    print(f"{options.to / 'index.html'}: {len(site.pages)} pages, {size / 1e6:.1f} MB")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
