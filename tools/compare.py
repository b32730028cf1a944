"""Write the page that compares all runs and print its path; `make compare` calls this.

python -m tools.compare [FOLDER]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.command import command
from utils.experiments import write_page


@command
def main(arguments=None):
    """Write the page of all runs in the run log, or in another folder of runs; print its path."""
    parser = argparse.ArgumentParser(prog="python -m tools.compare", description=main.__doc__)
    parser.add_argument("folder", nargs="?", help="the folder of runs (default: COURSEWORK_RUNS, else runs/)")
    folder = parser.parse_args(arguments).folder
    if folder and not Path(folder).is_dir():
        print(f"There is no folder {folder}.\n  next:  give the folder that holds the runs.", file=sys.stderr)
        return 1
    print(write_page(folder).resolve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
