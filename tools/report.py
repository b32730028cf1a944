"""Writes a run's report from the command line.

    python -m tools.report [RUN] [--folder PATH]

RUN is a run's name or its unique beginning; without it, the report that was written last is written again. A report
that is written again takes in the words that were added to the run's folder since.
"""

from __future__ import annotations

import argparse
import sys

from utils.errors import CourseworkError
from utils.report import write_report
from utils.runs import all_runs


def main(arguments=None):
    """Write the report of the run named, and print where it is."""
    parser = argparse.ArgumentParser(prog="python -m tools.report", description=main.__doc__)
    parser.add_argument("run", nargs="?", help="a run's name or its unique beginning (default: last reported)")
    parser.add_argument("--folder", help="the folder of the runs (default: COURSEWORK_RUNS, else runs/)")
    args = parser.parse_args(arguments)
    name = args.run
    if name is None:
        run = last_reported(args.folder)
        name = run.name if run else "last"
    try:
        paths = write_report(name, args.folder)
    except CourseworkError as error:
        print(error, file=sys.stderr)
        return 1
    print(*paths, sep="\n")
    return 0


def last_reported(folder=None):
    """Return the run whose report was written last, or None if there is no report."""
    reported = [run for run in all_runs(folder) if (run.folder / "report.html").exists()]
    return max(reported, key=lambda run: (run.folder / "report.html").stat().st_mtime, default=None)


if __name__ == "__main__":
    sys.exit(main())
