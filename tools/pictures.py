"""Makes the pictures of README and of the guide again, into docs/pictures/.

    CIFAR10_ROOT=... python -m tools.pictures [--report runs/NAME/report.pdf]

The pictures of the notebooks are figures that they show, made smaller. With --report the first page of a report is
drawn as well; that needs the program pdftoppm.
"""

from __future__ import annotations

import argparse
import base64
import io
import subprocess
import sys
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image

from tools import notebooks
from tools.command import command
from utils.data import BatchLoader, Split, class_rows, load_cifar10
from utils.data.sources import CLASSES, synthetic
from utils.figures.basics import show_grid
from utils.figures.style import COLOURS
from utils.notebook import style_figures
from utils.recipes import load_pretrained, pretrained_record

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "pictures"
FIGURES = {  # the cell whose figure stands for a notebook
    "01": "weights-figure",
    "02": "draw-block",
    "03": "valley",
    "04": "main-figure",
    "05": "show-cam",
    "06": "show-power",
}
WIDTH = 560  # pixels of a notebook's picture; README shows it at half of that
GATED_CLASSES = ("ship", "automobile", "truck", "frog", "deer", "horse")


@command
def main(arguments=None):
    """Make all pictures, that of the report only if its PDF is given."""
    parser = argparse.ArgumentParser(prog="python -m tools.pictures", description=main.__doc__)
    parser.add_argument("--report", metavar="PDF", type=Path, help="the report to show")
    options = parser.parse_args(arguments)
    FOLDER.mkdir(exist_ok=True)
    style_figures()
    save(synthetic_images(), "synthetic_images")
    save(gates(load_cifar10()), "gates")
    for path in notebooks.paths():
        save(figure_of(path, FIGURES[path.name[:2]]), path.name[:2])
    if options.report:
        save(first_page(options.report), "report")


def save(picture, name):
    """Write a picture as a PNG with few colours, which keeps the repository small."""
    path = FOLDER / f"{name}.png"
    few = picture.convert("RGB").quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    print(f"{path.relative_to(FOLDER.parents[1])}: {path.stat().st_size / 1000:.0f} kB")


def synthetic_images():
    """Return a picture of some synthetic images of each class."""
    images = np.concatenate([synthetic.draw_class(name, 12) for name in CLASSES])
    return as_picture(show_grid(images, rows=CLASSES, columns=12), dpi=110)


def gates(data):
    """Return a picture of test images and the weights that the last gate of a trained network gives to its branches."""
    record = pretrained_record("quick")
    net = load_pretrained("quick", device="cpu")
    rows = [int(class_rows(data.test, data.classes, name)[0]) for name in GATED_CLASSES]
    six = Split(data.test.images[rows], data.test.labels[rows])
    X, _ = BatchLoader(six, len(six), mean=record["mean"], std=record["std"], device="cpu").batch(epoch=0, i=0)
    weights = []
    last = [block for block in net.children() if hasattr(block, "gate")][-1]
    last.gate.register_forward_hook(lambda gate, inputs, output: weights.append(output))
    with torch.no_grad():
        net(X)
    names = [f"{size}x{size}" for size in last.branches.kernel_sizes]
    return as_picture(draw_gates(six.images, weights[0].numpy(), names, GATED_CLASSES), dpi=160)


def draw_gates(images, weights, names, titles):
    """Draw images in a row and below each the weights of the branches, which have these names, as bars."""
    figure, axes = plt.subplots(2, len(images), figsize=(8.4, 2.5), height_ratios=(1.5, 1), sharey="row")
    places = range(len(names))
    for image, row, title, (above, below) in zip(images, weights, titles, axes.T, strict=True):
        above.imshow(image.permute(1, 2, 0))
        above.set_title(title, loc="center", fontsize=10)
        above.axis("off")
        below.barh(places, 100 * row, color=COLOURS[: len(names)])
        below.set_yticks(places, names)
        for place, value in enumerate(row):
            below.text(100 * value + 4, place, f"{100 * value:.0f} %", va="center", fontsize=8)
        below.set_xlim(0, 130)
        below.tick_params(length=0, labelbottom=False, labelsize=9)
        below.spines[:].set_visible(False)
    axes[1, 0].invert_yaxis()
    return figure


def figure_of(path, cell):
    """Return the figure that a cell of a notebook shows, made smaller."""
    (found,) = [each for each in notebooks.read(path).cells if each.get("id") == cell]
    encoded = next(output.data["image/png"] for output in found.outputs if "image/png" in output.get("data", {}))
    picture = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")
    return picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)), Image.Resampling.LANCZOS)


def first_page(pdf):
    """Return the first page of a PDF as a picture."""
    png = subprocess.run(["pdftoppm", "-png", "-r", "110", "-f", "1", "-l", "1", pdf], capture_output=True, check=True)
    return Image.open(io.BytesIO(png.stdout))


def as_picture(figure, dpi):
    """Return a matplotlib figure as a picture."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=dpi, bbox_inches="tight")
    plt.close(figure)
    return Image.open(out)


if __name__ == "__main__":
    sys.exit(main())
