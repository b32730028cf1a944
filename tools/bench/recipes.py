"""Measures the training of each recipe, ours against the baseline that the reports wrote: images/s and memory.

    python -m tools.bench.recipes

Ours is `Recipe.train`: batches made on the device, the device's best precision, the fastest form of the gated
convolution, and on a GPU CUDA graphs. The baseline is a `DataLoader` with worker processes and torchvision's transforms
on PIL images, float32, k convolutions for a gated one, the loss and the right answers read as Python numbers after each
batch. Both train the same network with the same batch size on noise of CIFAR-10's size, which no recipe shrinks here.
Each runs in a separate process, and they take turns. On a CPU no batch has more than 1,000 images, so that both fit
into the memory of a usual machine. The memory is what training takes at most: on a GPU what torch has allocated, with
our images there; on a CPU the process itself, without its images and without the `DataLoader`'s workers. The limit is
the matrix rate, what a large matrix product in the same precision reaches; the share of it that our training reaches
counts the multiply-adds of the formula as it is written, three times for forward and backward. It may exceed 100 %,
since the mixed kernels of some forms need fewer.
"""

from __future__ import annotations

import sys

from tools.bench._shared import Setting, Table, main, matrix_rate, median, note, ratio, span, turn_of
from tools.bench._ways import Way
from utils.devices import best_precision
from utils.recipes import OURS, SYSTEMS, find_system
from utils.training.step import DTYPES

TITLE = "Training the recipes"
SETTINGS = {
    "systems": Setting("", "dropout_cnn", "names of systems, with commas"),
    "images": Setting(50_000, 64, "in an epoch"),
    "batch_size": Setting(0, 4, "instead of each recipe's; 0 leaves it, up to 1,000 on a CPU"),
    "workers": Setting(2, 1, "of the DataLoader"),
    "repeats": Setting(3, 1, "turns of each way"),
    "seconds": Setting(3.0, 0.0, "of each turn, about, and one batch at least; on a GPU a third"),
}
WAYS = ("baseline", "ours")
READY = 2  # batches that a worker of a DataLoader makes ahead
LARGEST = 1000  # images of a batch on a CPU


def measure(device, settings):
    """Return {"rows", "precision", "matrix_macs_per_s"}."""
    systems = settings["systems"].split(",") if settings["systems"] else [*SYSTEMS, *OURS]
    precision = best_precision(device)
    rows = [measure_recipe(find_system(name), device, settings) for name in systems]
    rate = matrix_rate(device, DTYPES[precision])
    return {"rows": rows, "precision": precision, "matrix_macs_per_s": rate}


def measure_recipe(recipe, device, settings):
    """Return a recipe's row: images/s of each turn of both ways, and the memory that each took at most."""
    size = settings["batch_size"] or (recipe.batch_size if device.type == "cuda" else min(recipe.batch_size, LARGEST))
    ways, settings = {}, settings | {"batch_size": size}
    try:
        for name in WAYS:
            ways[name] = Way(recipe.name, name, device, settings)
        for way in ways.values():  # both are warm before either is measured
            way.answer()
        turn, ready = turn_of(settings, device), READY * settings["workers"]
        # A GPU waits for the workers, whose batches come some at a time: of fewer, a turn's seconds would be chance.
        least = {"baseline": ready if device.type == "cuda" else 1, "ours": 1}
        batches = {name: max(least[name], batches_in(turn, way)) for name, way in ways.items()}
        rates, memory = {name: [] for name in WAYS}, {}
        for repeat in range(settings["repeats"]):
            for name in WAYS[:: 1 if repeat % 2 == 0 else -1]:
                if device.type == "cuda":  # it would finish batches that workers have made meanwhile in no time
                    ways[name].train(ready)
                seconds, memory[name] = ways[name].train(batches[name])
                rates[name].append(batches[name] * size / seconds)
    finally:
        for way in ways.values():
            way.close()
    row = {"system": recipe.name, "batch_size": size, "macs": recipe.macs(), "batches": batches}
    note(f"{recipe.name}: {gain(rates):.2f} times the baseline's images/s")
    return row | {"images_per_s": rates, "peak_bytes": memory}


def batches_in(seconds, way):
    """Return about how many batches it trains on in these seconds, from more than one where these are short."""
    some = max(1, round(0.2 * seconds / way.train(1)[0]))
    return max(1, round(seconds * some / way.train(some)[0]))


def gain(rates):
    return ratio(rates["ours"], rates["baseline"])


def share_of_limit(row, record):
    """Return the share of the matrix rate that our training reaches."""
    return 3 * row["macs"] * median(row["images_per_s"]["ours"]) / record["matrix_macs_per_s"]


def tables(record):
    speed = [
        (row["system"], *(f"{median(row['images_per_s'][way]):,.0f}" for way in WAYS))
        + (f"{gain(row['images_per_s']):.2f}", f"{100 * share_of_limit(row, record):.0f} %")
        for row in record["rows"]
    ]
    memory = [
        (row["system"], *(f"{row['peak_bytes'][way] / 2**20:,.0f}" for way in WAYS))
        + (f"{row['peak_bytes']['baseline'] / row['peak_bytes']['ours']:.2f}",)
        for row in record["rows"]
    ]
    return [
        Table(
            "Training, images/s, median of the turns:", ("system", "baseline", "ours", "ratio", "of the limit"), speed
        ),
        Table("Memory that training takes at most, MiB:", ("system", "baseline", "ours", "baseline / ours"), memory),
    ]


def headlines(record):
    rows = {row["system"]: gain(row["images_per_s"]) for row in record["rows"]}
    groups = {"the five reported recipes": SYSTEMS, "our recipes": OURS}
    found = {text: [rows[name] for name in names if name in rows] for text, names in groups.items()}
    return {f"{text} against the baseline, images/s": span(gains, "{:.2f}") for text, gains in found.items() if gains}


if __name__ == "__main__":
    sys.exit(main(sys.modules[__name__]))
