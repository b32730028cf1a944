"""Measures the forms of the gated convolution against the loop, forward and backward, by shape and in whole networks.

    python -m tools.bench.gated_conv

The loop is the formula as it is written: k convolutions, each scaled, and their sum. The first shapes are the ten
blocks of a network of widths 3 to 1024 that halves its maps after every second block, which are those of report A's,
with five branches of 3x3; then come five of `best_gated` with its two branches of 1x1. The rule
`utils.models.gated.choose_form` rests on this table. "auto" is what a network gets: the form that the rule names, in
bold, and over maps of 2x2 on a CPU a loop of matrix products. The limit is one convolution of
the same shape without a gate. Everything is in the device's best precision and laid out in memory as for training; on
a GPU it is a CUDA graph, as in `make reproduce`, with four times as many images. Whole networks take a step without
the optimizer.
Those of reports A and D are not among them: a branch of theirs has a ReLU after its convolution, so that weights
cannot be applied before it.
"""

from __future__ import annotations

import itertools
import sys

import torch
import torch.nn.functional as F

from tools.bench._shared import Setting, Table, captured, main, median, milliseconds, note, ratio, span
from utils.devices import best_precision, keep_memory
from utils.models.convolution import use_fast_convolutions
from utils.models.gated import FORMS, GatedConv, choose_form, set_form
from utils.recipes import OURS, SYSTEMS
from utils.recipes.train import laid_out
from utils.training.step import DTYPES

TITLE = "Gated convolutions"
SETTINGS = {
    "batch_size": Setting(64, 2, "images"),
    "shapes": Setting(0, 1, "how many of all; 0 is all"),
    "networks": Setting(0, 1, "how many of the gated ones, the smallest first; 0 is all"),
    "repeats": Setting(5, 1, "of every measurement"),
}
CHANNELS_OF_A = (3, 32, 64, 64, 128, 128, 256, 256, 512, 512, 1024)
SHAPES = [((3,) * 5, c, d, 32 >> i // 2) for i, (c, d) in enumerate(itertools.pairwise(CHANNELS_OF_A))]
SHAPES += [((1, 1), *shape) for shape in ((24, 128, 31), (128, 128, 15), (128, 384, 15), (384, 384, 7), (384, 384, 3))]
GPU_TIMES = 4  # as many images on a GPU
KERNEL_LIMIT = 2**31  # bytes of kernels, one for each image, above which "aggregated" is left out


def measure(device, settings):
    """Return {"rows", "networks", "precision"}."""
    keep_memory()
    rows = [measure_shape(*shape, device, settings) for shape in SHAPES[: settings["shapes"] or None]]
    gated = [recipe for recipe in (*SYSTEMS.values(), *OURS.values()) if is_gated(recipe)]
    gated = sorted(gated, key=lambda recipe: recipe.macs())[: settings["networks"] or None]
    networks = [measure_network(recipe, device, settings) for recipe in gated]
    return {"rows": rows, "networks": networks, "precision": best_precision(device)}


def images(device, settings):
    return settings["batch_size"] * (1 if device.type == "cpu" else GPU_TIMES)


def as_in_training(device):
    """Let what happens inside compute in the device's best precision."""
    dtype = DTYPES[best_precision(device)]
    return torch.autocast(device.type, dtype, enabled=dtype is not None)


def is_gated(recipe):
    """Tell whether a recipe's network has gated convolutions, which "auto" may take in another form than the loop."""
    with torch.device("meta"):
        return any(isinstance(layer, GatedConv) for layer in recipe.make_network().modules())


def measure_shape(kernel_sizes, inside, out, size, device, settings):
    """Return the form that auto takes, and the milliseconds of each form and of one convolution without a gate."""
    count, kernel = images(device, settings), kernel_sizes[0]
    layer = GatedConv(inside, out, kernel_sizes).to(device)
    as_it_is = layer.merges_kernels and device.type == "cpu"  # as laid_out leaves it
    layout = torch.contiguous_format if as_it_is else torch.channels_last
    dtype = DTYPES[best_precision(device)]  # that of the maps between two layers
    X = torch.randn(count, inside, size, size, device=device).to(dtype=dtype, memory_format=layout).requires_grad_()
    a = torch.rand(count, len(kernel_sizes), device=device, requires_grad=True)
    weight = torch.randn(out, inside, kernel, kernel, device=device, requires_grad=True)

    def backward(convolve):
        for tensor in (X, a, weight, *layer.parameters()):
            tensor.grad = None
        with as_in_training(device):
            Y = convolve()
        Y.backward(torch.ones_like(Y))

    def step(form):
        layer.form = form
        backward(lambda: layer(X, a))

    kernels = 4 * count * layer.weights[0][0].numel()
    names = [name for name in FORMS if name != "aggregated" or kernels <= KERNEL_LIMIT]
    ways = {name: lambda name=name: step(name) for name in (*names, "auto")}
    ways["one"] = lambda: backward(lambda: F.conv2d(X, weight, padding=kernel // 2))
    named = choose_form(X, layer.weights[0]).__name__.removeprefix("fast_")
    row = {"kernels": kernel_sizes, "shape": (inside, out, size), "named": named}
    ways = {name: captured(way, device) for name, way in ways.items()}
    row["ms"] = milliseconds(ways, settings["repeats"], device)
    note(f"{label(row)}: auto is {row['named']}, {ratio(row['ms']['loop'], row['ms']['auto']):.2f}")
    return row


def measure_network(recipe, device, settings):
    """Return the milliseconds of a whole network's step, its gated convolutions as loops and in auto's forms."""
    torch.manual_seed(0)
    net = laid_out(recipe.make_network(), device).to(device)
    if device.type == "cpu":
        use_fast_convolutions(net)
    X = torch.randn(images(device, settings), 3, 32, 32, device=device)
    y = torch.arange(len(X), device=device) % 10

    def step(form):
        set_form(net, form)
        net.zero_grad()
        with as_in_training(device):
            y_hat = net(X).float()
        F.cross_entropy(y_hat, y).backward()

    ways = {form: captured(lambda form=form: step(form), device) for form in ("loop", "auto")}
    row = {"system": recipe.name, "ms": milliseconds(ways, settings["repeats"], device)}
    note(f"{recipe.name}: {ratio(row['ms']['loop'], row['ms']['auto']):.2f}")
    return row


def label(row):
    inside, out, size = row["shape"]
    kernel = row["kernels"][0]
    return f"{inside} → {out}, {size}x{size}" + (f", {kernel}x{kernel}" if kernel != 3 else "")


def tables(record):
    forms = [name for name in FORMS if name != "loop"]
    shapes = [(label(row), *(_cell(row, name) for name in ("loop", *forms, "auto", "one"))) for row in record["rows"]]
    networks = []
    for row in record["networks"]:
        loop, auto = row["ms"]["loop"], row["ms"]["auto"]
        networks.append((row["system"], f"{median(loop):,.0f}", f"{median(auto):,.0f}", f"{ratio(loop, auto):.2f}"))
    caption = (
        "One convolution: the loop in ms, then how many times as fast the others are; **bold** is the rule's form:"
    )
    return [
        Table(caption, ("in → out, map", "loop, ms", *forms, "auto", "limit"), shapes),
        Table("A whole network's step, ms:", ("system", "loop", "auto", "loop / auto"), networks),
    ]


def _cell(row, name):
    if name not in row["ms"]:
        return "-"
    loop, own = row["ms"]["loop"], row["ms"][name]
    text = f"{median(loop):,.1f}" if name == "loop" else f"{ratio(loop, own):.2f}"
    return f"**{text}**" if name == row["named"] else text


def headlines(record):
    gains = [ratio(row["ms"]["loop"], row["ms"]["auto"]) for row in record["networks"]]
    return {"gated networks, auto against the loop, forward and backward": span(gains, "{:.2f}")}


if __name__ == "__main__":
    sys.exit(main(sys.modules[__name__]))
