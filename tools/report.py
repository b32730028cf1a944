"""Owns making a run's report from the command line. What it says, and all that it does, is utils/report/'s.

    python -m tools.report [RUN] [--folder PATH]

RUN is a run's name, or a beginning that only one has; without one that run is meant whose report was written last.
Made again, it takes in the words written meanwhile.
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
    parser.add_argument("run", nargs="?", help="a run's name, or a beginning that only one has")
    parser.add_argument("--folder", help="where the runs lie (default: the ledger)")
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
