"""Writes the report of a run from the command line.

    python -m tools.report [RUN] [--folder PATH]

RUN is a run's name, or a beginning of it that only one run has. Without it, the report that was written last is written
again, with the student's text as it is now.
"""

from __future__ import annotations

import argparse
import sys

from utils.errors import CourseworkError
from utils.report import write_report
from utils.runs.run import all_runs


def main(words=None):
    """Write the report of the run named, and print where it is."""
    parser = argparse.ArgumentParser(prog="python -m tools.report", description="Write a run's report.")
    parser.add_argument("run", nargs="?", help="a run's name, or a beginning of it that only one run has")
    parser.add_argument("--folder", help="the folder of the runs (default: runs/)")
    args = parser.parse_args(words)
    try:
        paths = write_report(args.run or reported_last(args.folder), args.folder)
    except CourseworkError as error:
        print(error, file=sys.stderr)
        return 1
    print(*paths, sep="\n")
    return 0


def reported_last(folder=None):
    """Return the name of the run whose report was written last, or "last" where there is no report yet."""
    pages = [run.folder / "report.html" for run in all_runs(folder)]
    pages = [page for page in pages if page.exists()]
    return max(pages, key=lambda page: page.stat().st_mtime).parent.name if pages else "last"


if __name__ == "__main__":
    sys.exit(main())
