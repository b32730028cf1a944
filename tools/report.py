"""Writes a run's report from the command line.

    python -m tools.report [RUN] [--folder PATH]

RUN is a run's name or its unique beginning. Without it, the report that was written last is written again, with the
text that was added to the run's folder since; if there is no report yet, the newest run that was measured on the test
images is reported.
"""

from __future__ import annotations

import argparse
import sys

from tools.command import command
from utils.report import write_report
from utils.runs import all_runs, find, tested_accuracy


@command
def main(arguments=None):
    """Write the report of a run, and print the paths of its files."""
    parser = argparse.ArgumentParser(prog="python -m tools.report", description=main.__doc__)
    parser.add_argument("run", nargs="?", help="a run's name or its unique beginning (default: last reported)")
    parser.add_argument("--folder", help="the folder of the runs (default: COURSEWORK_RUNS, else runs/)")
    args = parser.parse_args(arguments)
    if args.run:
        run = find(args.run, args.folder)
    else:
        run, reason, count = choose_run(args.folder)
        if count > 1:
            print(f"{run.name} is reported: of {count} runs it is {reason}. Another one: make report RUN=NAME")
    print(*write_report(run), sep="\n")
    return 0


def choose_run(folder=None):
    """Return (the run to report if none is named, the reason as text, the number of runs)."""
    runs = all_runs(folder)
    reported = [run for run in runs if (run.folder / "report.html").is_file()]
    if reported:
        run = max(reported, key=lambda run: (run.folder / "report.html").stat().st_mtime)
        return run, "the one whose report was written last", len(runs)
    measured = [run for run in runs if tested_accuracy(run) is not None]
    if measured:
        return measured[-1], "the newest that was measured on the test images", len(runs)
    run = find("last", folder)
    return run, f"the newest (state: {run.state}; none was measured on the test images)", len(runs)


if __name__ == "__main__":
    sys.exit(main())
