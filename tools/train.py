"""Owns training a system from the command line. The recipe, and all that it does, is utils/recipes/reported.py's.

    python -m tools.train NAME [--budget smoke|quick|full] [--seed 0] [--protocol honest|report|final] [--folder PATH]

Typed again, it goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import sys

from utils.errors import CourseworkError
from utils.recipes import OURS, PROTOCOLS, SYSTEMS, find_system
from utils.training.budget import BUDGETS
from utils.training.live import in_words


def main(words=None):
    """Train the system named, and print what it measured after its last epoch."""
    parser = argparse.ArgumentParser(prog="python -m tools.train", description="Train one of the systems.")
    parser.add_argument("name", help=", ".join([*SYSTEMS, *OURS]))
    parser.add_argument("--budget", choices=BUDGETS, help="how much of it (default: by hardware)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--protocol", choices=PROTOCOLS, default="honest")
    parser.add_argument("--device", help="cpu, cuda, mps (default: the best there is)")
    parser.add_argument("--folder", default="auto", help="where its checkpoints lie")
    parser.add_argument("--save-every", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--compiled", action="store_true", help="let torch.compile fuse the network first")
    text = "let no GPU replay the passes of an earlier batch"
    parser.add_argument("--no-replay", dest="replay", action="store_const", const=False, default="auto", help=text)
    args = vars(parser.parse_args(words))
    try:
        trained = find_system(args.pop("name")).train(**args)
    except CourseworkError as error:
        print(error, file=sys.stderr)
        return 1
    print(in_words(trained.history.rows[-1]) if trained.history.rows else "No epoch was finished.")
    print(f"Run {trained.folder.name}: record and checkpoints lie in {trained.folder}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
