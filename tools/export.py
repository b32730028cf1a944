"""Exports a trained network as .pt2, ONNX and TorchScript, and proves that the files compute the same.

    python -m tools.export RUN [--folder PATH]
    python -m tools.export --table

RUN is `quick`, whose weights come with the suite, or a run's name or its unique beginning. --table exports the eight
systems one after the other, and writes their table into docs/export.md.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from pathlib import Path

import torch

from tools.command import command
from utils.data import load_cifar10
from utils.evaluation import export_network
from utils.recipes import OURS, SYSTEMS, find_system, load_pretrained, load_run, pretrained_record
from utils.recipes.pretrained import WEIGHTS
from utils.runs import find

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
FEW = 134  # images for a network with random weights, in the table: two rounds of all batch sizes
TABLE = re.compile(r"(?<=<!-- parity -->\n).*(?=<!-- /parity -->)", re.DOTALL)


@command
def main(arguments=None):
    """Export a network, print the comparison and the folder."""
    parser = argparse.ArgumentParser(prog="python -m tools.export", description=main.__doc__)
    parser.add_argument("run", nargs="?", help="quick, or a run's name or its unique beginning")
    parser.add_argument("--folder", type=Path, help="the folder to write (default: export/ beside the run's record)")
    parser.add_argument("--table", action="store_true", help="export all systems and renew docs/export.md")
    args = parser.parse_args(arguments)
    if args.table:
        table, page = systems_table(), ROOT / "docs" / "export.md"
        text = TABLE.sub(lambda _: table, page.read_text(encoding="utf-8"))
        page.write_text(text, encoding="utf-8", newline="\n")
        print(page)
        return 0
    if not args.run:
        parser.error("give the name of a run, or quick: make export RUN=quick")
    if is_shipped(args.run):
        folder = args.folder or DIST / args.run / "export"
        table = export_system(args.run, folder, load_cifar10().test.images)
    else:
        trained = load_run(find(args.run), device="cpu")
        folder = args.folder or trained.folder / "export"
        table = export_network(trained, folder)
    print(table.to_string(), folder, sep="\n")
    return 0


def is_shipped(name: str) -> bool:
    """Return True for the name of a network whose weights come with the suite; a run has a longer name."""
    return (WEIGHTS / f"{name}.json").exists()


def export_system(name, folder, images):
    """Export a system with the weights that come with the suite, or else with the random ones of seed 0."""
    if not is_shipped(name):
        torch.manual_seed(0)
        recipe = find_system(name)
        return export_network(recipe.make_network(), folder, images[:FEW], name=name, mean=recipe.mean, std=recipe.std)
    record = pretrained_record(name)
    settings = {key: record[key] for key in ("classes", "mean", "std")}
    return export_network(load_pretrained(name, "cpu"), folder, images, name=name, about=record, **settings)


def systems_table() -> str:
    """Export all systems into a temporary folder, and return their comparisons as a table of Markdown."""
    lines, images = [], load_cifar10().test.images
    for name in (*SYSTEMS, *OURS):
        with tempfile.TemporaryDirectory() as folder:
            table = export_system(name, folder, images)
        if not lines:
            lines = [
                f"| system | weights | file | {' | '.join(table.columns)} |",
                "|---|---|---|" + "---:|" * len(table.columns),
            ]
        weights = "trained" if is_shipped(name) else "random"
        lines += [
            f"| `{name}` | {weights} | {Path(row[0]).suffix} | {' | '.join(row[1:])} |" for row in table.itertuples()
        ]
        print(lines[-1], flush=True)
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
