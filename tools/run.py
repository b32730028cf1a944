"""Owns the command line of `make run`: its first word, its last, and Ctrl-C. Runs nothing; session.py does."""

from __future__ import annotations

import argparse
import sys

INTERRUPTED = 130  # the exit code that shells give to Ctrl-C


def main(words):
    """Run the notebooks in order; leave an executed copy and a page of each in runs/coursework/."""
    parser = argparse.ArgumentParser(prog="python -m tools.run", description=main.__doc__)
    parser.add_argument("--only", nargs="+", metavar="02", default=[], help="the notebooks whose names start so")
    parser.add_argument("--keep-going", action="store_true", help="run the others even after one fails")
    parser.add_argument("-v", "--verbose", action="store_true", help="show what the cells print")
    parser.add_argument("--in-place", action="store_true", help="rewrite the notebooks themselves, cleaned")
    options = parser.parse_args(words)
    try:
        print("Loading Jupyter.", flush=True)
        from tools import session  # only now: it takes seconds, in which Ctrl-C should work as well

        return session.run(**vars(options))
    except KeyboardInterrupt:
        print("Stopped. What is finished is in runs/coursework/; the same command starts over.")
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
