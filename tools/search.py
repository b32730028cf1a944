"""Search for good hyperparameters of a system from the command line; `make search` calls this.

    python -m tools.search NAME [SETTING=VALUES ...] [--trials 20] [--seed 0] [--prune] [--engine ray]

VALUES are choices, `batch_size=64,128`; or a range, `lr=0.001..0.1` or, on a logarithmic scale, `lr=log:0.001..0.1`.
The same command continues a search that was stopped or killed. Several processes that run the same command share it.
"""

from __future__ import annotations

import argparse
import ast
import sys
from pathlib import Path

import matplotlib.pyplot as plt

from tools.command import command, require_writable
from utils.errors import CourseworkError
from utils.experiments import linear_range, log_range, run_search
from utils.figures import show_importances, show_parallel, show_trials
from utils.figures.style import STYLE
from utils.recipes import OURS, SYSTEMS, find_system
from utils.runs.run import trainings
from utils.training.effort import EFFORTS

FIGURES = {"trials": show_trials, "parallel": show_parallel, "importances": show_importances}


def space_of(words: list[str], recipe) -> dict:
    """Return the space that the words on the command line describe; without words, one of learning rate and batch."""
    if not words:
        return {
            "lr": log_range(recipe.lr / 10, recipe.lr * 10),
            "batch_size": [recipe.batch_size, 2 * recipe.batch_size],
        }
    space = {}
    for word in words:
        axis, equals, text = word.partition("=")
        if not equals or not text:
            what = "A setting needs its values."
            raise CourseworkError(what, where=word, next_step="For example: lr=log:0.001..0.1 batch_size=64,128")
        ends = text.removeprefix("log:").split("..")
        if len(ends) == 2:
            make_range = log_range if text.startswith("log:") else linear_range
            space[axis] = make_range(*map(value_of_text, ends))
        else:
            space[axis] = [value_of_text(choice) for choice in text.split(",")]
    return space


def value_of_text(text: str):
    """Return the number, True, False or None that a text stands for, or the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


@command
def main(arguments=None):
    """Run the search, print its table, and write its figures beside its log."""
    parser = argparse.ArgumentParser(prog="python -m tools.search", description="Search for good hyperparameters.")
    parser.add_argument("name", help=", ".join([*SYSTEMS, *OURS]))
    parser.add_argument("space", nargs="*", metavar="SETTING=VALUES", help="default: the learning rate and batch size")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--prune", action="store_true", help="end trials early that are not among the best third")
    parser.add_argument("--effort", choices=EFFORTS, help="how long a trial is (default: full on a GPU, else demo)")
    parser.add_argument("--device", help="cpu, cuda, mps (default: the best there is)")
    parser.add_argument("--engine", choices=("ray",), help="train the trials on a Ray cluster")
    parser.add_argument("--cpus", type=float, help="of one trial, with --engine ray (default: 1)")
    parser.add_argument("--gpus", type=float, help="the same, such as 0.5 (default: 1 if there is a GPU)")
    args = vars(parser.parse_args(arguments))
    recipe = find_system(args.pop("name"))
    amounts = {name: args.pop(option) for name, option in (("CPU", "cpus"), ("GPU", "gpus"))}
    resources = {name: amount for name, amount in amounts.items() if amount is not None} or None
    require_writable(trainings())
    table = run_search(recipe, space_of(args.pop("space"), recipe), resources=resources, **args)
    print(table.drop(columns=["error"]).to_string(float_format="{:.4g}".format))
    folder = Path(table.attrs["log"]).parent
    write_figures(table, folder, f"A search with {recipe.name}")
    print(f"Figures: {', '.join(f'{name}.png' for name in FIGURES)} in {folder}")
    return 0


def write_figures(table, folder, title):
    """Write the figures of a search as pictures into a folder."""
    plt.switch_backend("agg")  # no window
    with plt.rc_context(STYLE | {"figure.dpi": 160}):
        for name, show in FIGURES.items():
            figure = show(table, title=title)
            figure.savefig(folder / f"{name}.png")
            plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
