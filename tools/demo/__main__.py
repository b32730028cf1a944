"""Writes a page with a trained network inside, which works offline.

    python -m tools.demo RUN [--file PATH]

RUN is `quick`, whose weights come with the suite, or a run's name or its unique beginning.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.command import command
from tools.demo.page import make_page, samples_of, shipped_samples
from tools.export import DIST, is_shipped
from utils.evaluation.model_card import about_training
from utils.evaluation.robustness import normalisation
from utils.files import write_bytes
from utils.recipes import load_pretrained, load_run, pretrained_record
from utils.runs import find


@command
def main(arguments=None):
    """Write the page of a network and print its path."""
    parser = argparse.ArgumentParser(prog="python -m tools.demo", description=main.__doc__)
    parser.add_argument("run", help="quick, or a run's name or its unique beginning")
    parser.add_argument("--file", type=Path, help="the file to write (default: demo.html beside the run's record)")
    args = parser.parse_args(arguments)
    if is_shipped(args.run):
        name, folder, record = args.run, DIST / args.run, pretrained_record(args.run)
        net, samples, about = load_pretrained(name, "cpu"), shipped_samples(), record
        classes, settings = record["classes"], {"mean": record["mean"], "std": record["std"]}
    else:
        trained = load_run(find(args.run), device="cpu")
        name, folder, net, about = trained.recipe.name, trained.folder, trained.net, about_training(trained)
        split, settings = trained.test_iter.split, normalisation(trained.test_iter)
        classes, samples = split.classes, samples_of(split, split.classes)
    path = args.file or folder / "demo.html"
    page = make_page(net, name, samples, classes, about=about, **settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, page.encode())
    print(f"{path}: {len(page) / 1e6:.1f} MB. Open it in a browser; it needs no network.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
