"""Trains a system from the command line.

    python -m tools.train NAME [--effort check|demo|full] [--seed 0]
                          [--protocol validation|watch_test|train_on_all] [--folder PATH]

The same command resumes a training that was stopped. Several GPUs, or processes on CPUs, share a training with

    torchrun --standalone --nproc-per-node 2 -m tools.train NAME
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.command import command, require_writable
from utils.recipes import OURS, PROTOCOLS, SYSTEMS, find_system
from utils.runs import several_processes
from utils.runs.run import trainings
from utils.training.effort import EFFORTS
from utils.training.live import row_text


@command
def main(arguments=None):
    """Train the system named, and print what was measured after its last epoch."""
    parser = argparse.ArgumentParser(prog="python -m tools.train", description="Train one of the systems.")
    parser.add_argument("name", help=", ".join([*SYSTEMS, *OURS]))
    parser.add_argument("--effort", choices=EFFORTS, help="how long it trains (default: full on a GPU, else demo)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--protocol", choices=PROTOCOLS, default="validation")
    parser.add_argument("--device", help="cpu, cuda, mps (default: the best there is)")
    parser.add_argument(
        "--folder", default="auto", help="the folder of its checkpoints (default: its run's folder in runs/)"
    )
    parser.add_argument("--save-every", type=float, default=60.0, metavar="SECONDS")
    text = "replay each step as a CUDA graph, on one GPU"
    parser.add_argument("--cuda-graph", action="store_const", const="auto", default=False, help=text)
    args = vars(parser.parse_args(arguments))
    system = find_system(args.pop("name"))
    require_writable(trainings() if args["folder"] == "auto" else Path(args["folder"]))
    with several_processes(args["device"]) as processes:
        trained = system.train(**args, processes=processes)
    if processes.rank:
        return 0
    print(row_text(trained.history.rows[-1]) if trained.history.rows else "No epoch was finished.")
    print(f"Run {trained.folder.name}: record and checkpoints are in {trained.folder}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
