"""Owns `make compare`: writes the page of all runs and prints its path. What is on it is utils/experiments/'s.

python -m tools.compare [FOLDER]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from utils.experiments.page import write_page


def main(words=None):
    """Write a page that compares all runs of the ledger, or of another folder of runs; print its path."""
    parser = argparse.ArgumentParser(prog="python -m tools.compare", description=main.__doc__)
    parser.add_argument("folder", nargs="?", help="where the runs lie (default: COURSEWORK_RUNS, else runs/)")
    folder = parser.parse_args(words).folder
    if folder and not Path(folder).is_dir():
        print(f"There is no folder {folder}.", file=sys.stderr)
        return 1
    print(write_page(folder).resolve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
