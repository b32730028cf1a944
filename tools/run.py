"""Owns the command line of `make run`: its first word, its last, and Ctrl-C. Runs nothing; session.py does."""

from __future__ import annotations

import argparse
import sys

INTERRUPTED = 130  # the exit code that shells give to Ctrl-C
MAIN = ["01", "02", "03", "04", "05"]  # the way from the data to the report; 06 is for experiments of one's own


def main(words):
    """Run the notebooks in order; leave an executed copy and a page of each in runs/coursework/."""
    parser = argparse.ArgumentParser(prog="python -m tools.run", description=main.__doc__)
    parser.add_argument(
        "--only", nargs="+", metavar="02", help="the notebooks whose names start so (default: 01 to 05)"
    )
    parser.add_argument("--keep-going", action="store_true", help="run the others even after one fails")
    parser.add_argument("-v", "--verbose", action="store_true", help="show what the cells print")
    parser.add_argument("--in-place", action="store_true", help="rewrite the notebooks themselves, cleaned")
    parser.add_argument("--anew", action="store_true", help="run those again that a run which was cut off had finished")
    options = parser.parse_args(words)
    if options.only is None:
        options.only = [] if options.in_place else MAIN
    try:
        print("Loading Jupyter.", flush=True)
        from tools import session  # only now: it takes seconds, in which Ctrl-C should work as well

        return session.run(**vars(options))
    except KeyboardInterrupt:
        print("Stopped. What is finished is in runs/coursework/; the same command goes on from there.")
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
