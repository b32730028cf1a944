"""Owns the pictures of README.md: makes them again from the code, so that they never show what is no longer so."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import numpy as np

from utils.data.sources import CLASSES, synthetic
from utils.figures.basics import show_grid
from utils.notebook import style_figures

DOCS = Path(__file__).resolve().parents[1] / "docs"


def drawn_images(columns=12):
    """Draw the first pictures of each class."""
    images = np.concatenate([synthetic.draw_class(name, columns) for name in CLASSES])
    return show_grid(images, rows=CLASSES, columns=columns)


PICTURES = {"drawn_images": drawn_images}


def main():
    """Write every picture into docs/."""
    style_figures()
    DOCS.mkdir(exist_ok=True)
    for name, make in PICTURES.items():
        make().savefig(DOCS / f"{name}.png", dpi=144, bbox_inches="tight", metadata={"Software": None})
        print(f"docs/{name}.png")


if __name__ == "__main__":
    sys.exit(main())
