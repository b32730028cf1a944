"""Measures the convolution over maps of 2 x 2 as one matrix product against torch's own, forward and backward.

    python -m tools.bench.small_maps

The shapes are those of report A's last two blocks; the gated convolutions of report B's last three take the matrix as
well. Both ways are a `FastConv2d` in the device's best precision, with a pixel's channels side by side; a network takes
the matrix on a CPU only, from 32 images on. The limit is the matrix rate, measured in the same run: the share of it
that is reached counts the multiply-adds that do not fall on padding.
"""

from __future__ import annotations

import sys

import torch
from torch import nn

from tools.bench import _figures
from tools.bench._shared import Setting, Table, main, matrix_rate, median, milliseconds, note, ratio, span
from utils.models.convolution import MIN_IMAGES, FastConv2d, as_matrix
from utils.training.step import DTYPES, best_precision

TITLE = "Convolutions over the smallest maps"
SETTINGS = {
    "batch_sizes": Setting(f"{MIN_IMAGES},150", "150", "2", "images, with commas"),
    "shapes": Setting(2, 2, 1, "how many, the narrowest first"),
    "repeats": Setting(10, 3, 1, "of every measurement"),
}
SIDE = 2
SHAPES = [(512, 512), (512, 1024)]  # the last two blocks of report A


def measure(device, settings):
    """Return {"rows", "precision", "matrix_macs_per_s"}."""
    precision = best_precision(device)
    sizes = [int(size) for size in settings["batch_sizes"].split(",")]
    cases = [(widths, size) for widths in SHAPES[: settings["shapes"]] for size in sizes]
    rows = [measure_case(widths, size, device, DTYPES[precision], settings["repeats"]) for widths, size in cases]
    return {"rows": rows, "precision": precision, "matrix_macs_per_s": matrix_rate(device, DTYPES[precision])}


def measure_case(widths, size, device, dtype, repeats):
    """Return the milliseconds of each turn of both ways."""
    layout = {"device": device, "memory_format": torch.channels_last}
    layer, X = FastConv2d(*widths, 3, padding=1).to(**layout), torch.randn(size, widths[0], SIDE, SIDE).to(**layout)
    X.requires_grad_()

    def step(convolve):
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            Y = convolve(X)
        Y.float().sum().backward()

    ways = {
        "conv": lambda: step(lambda X: nn.Conv2d.forward(layer, X)),
        "matrix": lambda: step(lambda X: as_matrix(X, layer.weight, layer.bias)),
    }
    row = {"widths": widths, "batch_size": size, "ms": milliseconds(ways, repeats, device)}
    note(f"{label(row)}: {gain(row):.2f}")
    return row


def label(row):
    return "{} → {}, {} images".format(*row["widths"], row["batch_size"])


def gain(row):
    return ratio(row["ms"]["conv"], row["ms"]["matrix"])


def tables(record):
    rows = []
    for row in record["rows"]:
        conv, matrix = (median(row["ms"][way]) for way in ("conv", "matrix"))
        macs = 3 * row["batch_size"] * SIDE**4 * row["widths"][0] * row["widths"][1]
        share = 100 * macs / (matrix / 1e3) / record["matrix_macs_per_s"]
        rows.append((label(row), f"{conv:,.1f}", f"{matrix:,.1f}", f"{gain(row):.2f}", f"{share:.0f} %"))
    header = ("in → out, batch", "torch's, ms", "matrix, ms", "ratio", "of the limit")
    return [Table("Forward and backward, median:", header, rows)]


def headlines(record):
    gains = [gain(row) for row in record["rows"]]
    return {"convolutions over maps of 2 x 2 as a matrix, against torch's own": span(gains)}


def draw(records):
    panels, gains = {}, []
    for kind, record in _figures.present(records):
        gains += [gain(row) for row in record["rows"]]
        bars = {}
        for row in record["rows"]:
            ways = {"one matrix": median(row["ms"]["matrix"]), "torch's own": median(row["ms"]["conv"])}
            bars[label(row)] = {way: (ms, f"{ms:,.1f}") for way, ms in ways.items()}
        panels[f"{kind}: forward and backward, ms"] = bars
    title = f"Over maps of 2 x 2 one matrix product is {span(gains)} times as fast"
    return _figures.bars(panels, title=title, records=records)


if __name__ == "__main__":
    sys.exit(main(sys.modules[__name__]))
